/*
 * The engine behind every proxy of the benchmark, so cheap that the proxy and not this is what is measured. Listens on
 * every port given as an argument.
 *
 * What a completion is to do stands in its "model", the one field every router leaves alone: "fast" answers 122 bytes,
 * "stream-<chunks>-<ms>" sends events that carry the moment they were written, the first one at once, and
 * "abortable-<id>" is a stream without an end, of which `/aborted?id=<id>` tells when its connection was gone.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <signal.h>
#include <unistd.h>

#include "stamp.h"

#define ABORTABLE_MS 20
#define ANSWER_BYTES 122
#define ENDLESS -1
#define MAX_FDS 16384
#define MAX_ABORTED 1024
/* Larger than any request that is sent here. */
#define REQUEST_BYTES 8192

static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

struct connection {
  char request[REQUEST_BYTES + 1];
  int length;
  /* Of its stream: chunks that are still to come, 0 without one; the next one's time and those between, in ms. */
  int left;
  double next, every;
  char abortable[64];
};

static struct connection *connections[MAX_FDS];
static int streaming[MAX_FDS], streams;
static struct { char id[64]; double at; } aborted[MAX_ABORTED];
static int aborts;
static int listeners, epoll;

static void send_event(int fd, const char *before, int last) {
  char data[64], text[512];
  int length = snprintf(data, sizeof data, "data: %.6f\n\n", stamp());
  int total = snprintf(text, sizeof text, "%s%x\r\n%s\r\n%s", before, length, data, last ? "0\r\n\r\n" : "");
  if (write(fd, text, total) < 0) return;
}

static void begin_stream(int fd, int chunks, double every) {
  struct connection *c = connections[fd];
  c->left = chunks == ENDLESS ? ENDLESS : chunks - 1;
  c->every = every;
  c->next = stamp() + every;
  if (c->left != 0) streaming[streams++] = fd;
  send_event(fd, STREAM_HEAD, c->left == 0);
}

static void answer(int fd, const char *body) {
  char text[512];
  int length = snprintf(text, sizeof text,
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
                        strlen(body), body);
  if (write(fd, text, length) < 0) return;
}

/* Also what health checks get. */
static void tell(int fd, const char *head) {
  char id[64] = "", body[64];
  double at = 0;
  const char *asked = strstr(head, "/aborted?id=");
  if (asked) sscanf(asked, "/aborted?id=%63[^ &]", id);
  for (int i = 0; i < aborts; i++)
    if (strcmp(aborted[i].id, id) == 0) at = aborted[i].at;
  snprintf(body, sizeof body, "%.6f", at);
  answer(fd, body);
}

static void complete(int fd, const char *body) {
  char model[64] = "";
  int chunks, every;
  const char *named = strstr(body, "\"model\":\"");
  if (named) sscanf(named, "\"model\":\"%63[^\"]", model);
  if (sscanf(model, "stream-%d-%d", &chunks, &every) == 2) begin_stream(fd, chunks, every);
  else if (sscanf(model, "abortable-%63s", connections[fd]->abortable) == 1) begin_stream(fd, ENDLESS, ABORTABLE_MS);
  else {
    char text[ANSWER_BYTES + 1];
    snprintf(text, sizeof text, "%-*s", ANSWER_BYTES, "{\"id\":\"x\",\"choices\":[{\"message\":{\"content\":\"ok\"}}]}");
    answer(fd, text);
  }
}

static void end(int fd) {
  struct connection *c = connections[fd];
  if (c->abortable[0] && aborts < MAX_ABORTED) {
    strcpy(aborted[aborts].id, c->abortable);
    aborted[aborts++].at = stamp();
  }
  for (int i = 0; i < streams; i++)
    if (streaming[i] == fd) streaming[i--] = streaming[--streams];
  free(c);
  connections[fd] = NULL;
  close(fd);
}

static void receive(int fd) {
  struct connection *c = connections[fd];
  ssize_t got = read(fd, c->request + c->length, REQUEST_BYTES - c->length);
  if (got <= 0) {
    end(fd);
    return;
  }
  c->length += got;
  c->request[c->length] = 0;
  for (;;) {
    char *body = strstr(c->request, "\r\n\r\n");
    if (!body) return;
    *body = 0;
    const char *told = strcasestr(c->request, "\r\ncontent-length:");
    int size = told ? atoi(told + 17) : 0;
    body += 4;
    int all = (int)(body - c->request) + size;
    if (c->length < all) {
      body[-4] = '\r';
      return;
    }
    char after = c->request[all];
    c->request[all] = 0;
    if (size) complete(fd, body);
    else tell(fd, c->request);
    c->request[all] = after;
    c->length -= all;
    memmove(c->request, c->request + all, c->length + 1);
  }
}

static void accept_one(int listener) {
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), one = 1;
  if (fd < 0) return;
  if (fd >= MAX_FDS) {
    close(fd);
    return;
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  connections[fd] = calloc(1, sizeof(struct connection));
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* Sends what is due. Returns how long there is nothing, in ms; a negative number for ever. */
static double send_due(void) {
  double now = stamp(), next = -1;
  for (int i = 0; i < streams; i++) {
    int fd = streaming[i];
    struct connection *c = connections[fd];
    if (c->next <= now) {
      if (c->left != ENDLESS) c->left--;
      c->next += c->every;
      send_event(fd, "", c->left == 0);
      if (c->left == 0) {
        streaming[i--] = streaming[--streams];
        continue;
      }
    }
    if (next < 0 || c->next < next) next = c->next;
  }
  if (next < 0) return -1;
  double wait = next - stamp();
  return wait > 0 ? wait : 0;
}

int main(int argc, char **argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  signal(SIGPIPE, SIG_IGN);
  epoll = epoll_create1(0);
  for (int i = 1; i < argc; i++) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[i])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0) {
      perror("upstream");
      return 1;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    listeners = fd;
  }
  for (;;) {
    double wait = send_due();
    struct timespec time = {.tv_sec = 0, .tv_nsec = wait * 1e6};
    struct epoll_event events[256];
    int count = epoll_pwait2(epoll, events, 256, wait < 0 ? NULL : &time, NULL);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd <= listeners) accept_one(fd);
      else if (connections[fd]) receive(fd);
    }
  }
}
