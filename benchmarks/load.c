/* A closed loop of lookups over a unix socket: so many requests are always under way.
 *
 *     load SOCKET PATH CONNECTIONS SECONDS
 *
 * Prints the answers per second, and the 50th and 99th percentile of their times in microseconds.
 * Written in C because any generator slower than nginx would flatter everybody who is slower than
 * nginx. An answer is whole when its content-length has arrived; one that is not a 200 ends the run.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST = 16384, KEPT = 4000000, AT_ONCE = 64 };

struct connection {
  int fd;
  size_t have, want; /* bytes of the answer; want is 0 until its head is there */
  double asked_at;
  char in[LONGEST];
};

static float times[KEPT];
static size_t counted;
static char request[4096];
static size_t request_length;

static void fail(const char *why) {
  fprintf(stderr, "load: %s\n", why);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void ask(struct connection *c) {
  c->have = c->want = 0;
  c->asked_at = now();
  if (write(c->fd, request, request_length) != (ssize_t)request_length) fail("nobody reads");
}

static int is_answered(struct connection *c) {
  if (c->want == 0) {
    char *end = memmem(c->in, c->have, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    if (memcmp(c->in, "HTTP/1.1 200", 12) != 0) fail("an answer that is not a 200");
    *end = '\0';
    char *length = strcasestr(c->in, "content-length:");
    if (length == NULL) fail("an answer that does not say how long it is");
    c->want = (size_t)(end + 4 - c->in) + strtoul(length + 15, NULL, 10);
    if (c->want > LONGEST) fail("an answer that is too long");
  }
  return c->have >= c->want;
}

static int by_size(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  if (argc != 5) fail("SOCKET PATH CONNECTIONS SECONDS");
  struct sockaddr_un place = {.sun_family = AF_UNIX};
  snprintf(place.sun_path, sizeof place.sun_path, "%s", argv[1]);
  const char *form = "GET %s HTTP/1.1\r\nHost: keyman\r\n\r\n";
  request_length = (size_t)snprintf(request, sizeof request, form, argv[2]);
  size_t many = strtoul(argv[3], NULL, 10);
  struct connection *all = calloc(many, sizeof *all);
  int watched = epoll_create1(0);
  for (size_t i = 0; i < many; i++) {
    all[i].fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(all[i].fd, (struct sockaddr *)&place, sizeof place) != 0) fail(strerror(errno));
    struct epoll_event readable = {.events = EPOLLIN, .data.ptr = &all[i]};
    epoll_ctl(watched, EPOLL_CTL_ADD, all[i].fd, &readable);
  }
  double began = now(), end = began + strtod(argv[4], NULL), at = began;
  for (size_t i = 0; i < many; i++) ask(&all[i]);
  while (at < end) {
    struct epoll_event ready[AT_ONCE];
    int n = epoll_wait(watched, ready, AT_ONCE, 1000);
    if (n == 0) fail("no answer within a second");
    for (int i = 0; i < n; i++) {
      struct connection *c = ready[i].data.ptr;
      ssize_t got = read(c->fd, c->in + c->have, LONGEST - c->have);
      if (got <= 0) fail("hung up on");
      c->have += (size_t)got;
      if (!is_answered(c)) continue;
      at = now();
      if (counted < KEPT) times[counted++] = (float)((at - c->asked_at) * 1e6);
      ask(c);
    }
  }
  qsort(times, counted, sizeof *times, by_size);
  double rate = (double)counted / (at - began);
  printf("%.0f %.1f %.1f\n", rate, times[counted / 2], times[counted * 99 / 100]);
  return 0;
}
