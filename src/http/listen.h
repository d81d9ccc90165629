/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A listening socket from "host:port" text.
 */

#include <stddef.h>
#include <stdint.h>

#include <sluice/error.h>

/**
 * http_listen_split() - "127.0.0.1:8620", "[::1]:8620", ":8620" (all addresses) into host and port. Pure.
 * Return: 0; negative (CONFIG) when it is no such text.
 */
int http_listen_split(const char *text, char *ret_host, size_t size, uint16_t *ret_port, struct error *err);

/**
 * http_listen() - binds and listens, non-blocking, close-on-exec.
 * Thread: any. Blocks: as long as a name takes to resolve. Return: 0; negative (CONFIG, exit 78).
 */
int http_listen(const char *text, int *ret_fd, uint16_t *ret_port, struct error *err);
