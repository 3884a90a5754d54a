/*
 * Streams asked for over connections of their own, all at once or one after the other. Arguments: the port, how many, the
 * time within which they begin, in ms, and 1 where all connections are open before. The request stands on the standard input.
 * Says the time from each one's beginning to its first event, as `first <ms>`, and how long each further event was on its
 * way, as `chunk <ms>`; ends with 1, and says why, when an answer is not 200 or breaks off.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stamp.h"

#define UNREAD_BYTES 8192
/* What is measured has seen the connections by then. */
#define SETTLE_MS 50

struct stream {
  int fd, seen;
  double begin, begun;
  char unread[UNREAD_BYTES + 1];
  int length;
};

static void fail(const char *why, const char *text) {
  fprintf(stderr, "streams: %s: %.200s\n", why, text);
  exit(1);
}

static int epoll;

static void open_to(int port, struct stream *s) {
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("no connection", "");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
  s->fd = fd;
}

static double *delays;
static int delay_count;

/* Reads what there is. Returns whether the stream is over. */
static int receive(struct stream *s) {
  ssize_t got = read(s->fd, s->unread + s->length, UNREAD_BYTES - s->length);
  double now = stamp();
  if (got <= 0) fail("an answer broke off", s->unread);
  if (!s->seen && s->length == 0 && strncmp(s->unread, "HTTP/1.1 200", got < 12 ? got : 12) != 0)
    fail("an answer was not 200", s->unread);
  s->length += got;
  s->unread[s->length] = 0;
  char *at = s->unread, *event, *end;
  while ((event = strstr(at, "data: ")) && (end = strchr(event, '\n'))) {
    /* The first one is late by the way of the request. */
    if (s->seen++) delays[delay_count++] = now - atof(event + 6);
    else printf("first %.6f\n", now - s->begun);
    at = end;
  }
  int over = s->seen && s->length >= 5 && strcmp(s->unread + s->length - 5, "0\r\n\r\n") == 0;
  s->length -= at - s->unread;
  memmove(s->unread, at, s->length + 1);
  return over;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  int port = atoi(argv[1]), count = atoi(argv[2]), ahead = atoi(argv[4]);
  double within = atof(argv[3]);
  char request[UNREAD_BYTES];
  size_t length = fread(request, 1, sizeof request, stdin);
  struct stream *streams = calloc(count, sizeof *streams);
  delays = malloc(sizeof(double) * 1000 * count);
  epoll = epoll_create1(0);
  for (int i = 0; ahead && i < count; i++) open_to(port, &streams[i]);
  if (ahead) usleep(SETTLE_MS * 1000);
  double begin = stamp();
  for (int i = 0; i < count; i++) streams[i].begin = begin + within * i / count;
  for (int begun = 0, over = 0; over < count;) {
    for (; begun < count && streams[begun].begin <= stamp(); begun++) {
      streams[begun].begun = stamp();
      if (!ahead) open_to(port, &streams[begun]);
      if (write(streams[begun].fd, request, length) != (ssize_t)length) fail("a request was not taken", "");
    }
    double wait = begun < count ? streams[begun].begin - stamp() : 1000;
    struct timespec time = {.tv_sec = (int)(wait / 1000), .tv_nsec = wait > 0 && wait < 1000 ? wait * 1e6 : 0};
    struct epoll_event events[256];
    int ready = epoll_pwait2(epoll, events, 256, &time, NULL);
    for (int i = 0; i < ready; i++) {
      struct stream *s = events[i].data.ptr;
      if (!receive(s)) continue;
      close(s->fd);
      over++;
    }
  }
  for (int i = 0; i < delay_count; i++) printf("chunk %.6f\n", delays[i]);
}
