# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0

"""A TCP proxy that does to a connection what networks do: cut, stall, trickle, lose the reply to COMMIT."""

import socket
import threading

from wait import pause


class Proxy:
    def __init__(self, port):
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pairs = []
        self.lock = threading.Lock()
        self.flowing = threading.Event()
        self.flowing.set()
        self.refuse = False
        self.accepted = 0         # how many connections were tried
        self.trickle_bytes = 0
        self.drop_commit = 0      # how many replies to COMMIT are swallowed, the connection cut with each
        self.dropped_commits = 0
        self.closing = False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.closing:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            if self.refuse:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            with self.lock:
                self.pairs.append((client, server))
            threading.Thread(target=self.pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, True), daemon=True).start()

    def pump(self, source, sink, backend):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                self.flowing.wait()
                if backend and self.drop_commit > 0 and b"C\x00\x00\x00\x0bCOMMIT\x00" in data:
                    self.drop_commit -= 1
                    self.dropped_commits += 1
                    break
                while data:
                    n = self.trickle_bytes or len(data)  # read anew for each piece: it may be switched off meanwhile
                    sink.sendall(data[:n])
                    data = data[n:]
                    if data:
                        pause(0.001)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    def cut(self):
        """Every connection ends now; new ones are taken."""
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for s in pair:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def stall(self):
        self.flowing.clear()

    def resume(self):
        self.flowing.set()

    def close(self):
        self.closing = True
        self.listener.close()
        self.resume()
        self.cut()
