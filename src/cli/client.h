/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One HTTP GET from a running service: plain HTTP/1.0 over TCP, everything bounded in time and size.
 */

#include <stddef.h>

#include <sluice/buf.h>
#include <sluice/error.h>

#define CLIENT_TIMEOUT_MS 5000

/**
 * client_default_url() - where a service with this http.listen answers, seen from the same host: "http://127.0.0.1:8620".
 * Pure. Return: 0; negative (CONFIG) when the port is not fixed.
 */
int client_default_url(const char *listen, char *ret, size_t size, struct error *err);

/**
 * client_get() - asks for url + path.
 * @url: "http://host:port", with or without a path before ours and a slash at the end.
 * @token: sent as a bearer token; "" = none.
 * @ret: cleared; the body.
 * Thread: any. Blocks: up to CLIENT_TIMEOUT_MS, and as long as a name takes to resolve.
 * Return: the HTTP status; negative: TRANSIENT (69) when nobody answers in time, CONFIG (64) when url is none.
 */
int client_get(const char *url, const char *path, const char *token, struct buf *ret, struct error *err);
