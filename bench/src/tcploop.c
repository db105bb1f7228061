/* One TCP server and two clients, as small as a fair measurement allows.
 *
 *   tcploop server PORT             answer until killed
 *   tcploop rr  ADDRESS PORT SECONDS   one connection: 64 bytes out, 64 back, again and again
 *   tcploop crr ADDRESS PORT SECONDS   connect, 1 byte out, 1 byte back, the server closes; again and again
 *
 * The clients are sequential: they show latency, and a rate that is 1/latency, not a concurrency figure.
 * They print "count N errors N seconds S p50_us X p99_us Y". Cubic is asked for, because the machine's
 * default may be one that paces (BBR) and so measures itself.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 64, SAMPLES = 4 << 20 };
static float samples_us[SAMPLES];

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int open_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	struct timeval patience = { .tv_sec = 3 };
	setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	return fd;
}

static int serve(int port)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = open_socket(), on = 1;
	struct timeval forever = { 0 };
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof forever);
	if (bind(fd, (void *)&here, sizeof here) || listen(fd, 512))
		return perror("tcploop: listen"), 1;
	for (;;) {
		char buffer[MESSAGE];
		int client = accept(fd, NULL, NULL);
		if (client < 0)
			continue;
		struct timeval patience = { .tv_sec = 3 };
		setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
		if (recv(client, buffer, 1, 0) == 1) {
			if (buffer[0] == 'c')
				send(client, buffer, 1, MSG_NOSIGNAL);
			else if (recv(client, buffer + 1, MESSAGE - 1, MSG_WAITALL) == MESSAGE - 1)
				do
					send(client, buffer, MESSAGE, MSG_NOSIGNAL);
				while (recv(client, buffer, MESSAGE, MSG_WAITALL) == MESSAGE);
		}
		close(client);
	}
}

static int ascending(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

static int report(size_t count, size_t errors, double seconds)
{
	qsort(samples_us, count, sizeof *samples_us, ascending);
	printf("count %zu errors %zu seconds %.6f p50_us %.2f p99_us %.2f\n", count, errors, seconds,
	       count ? samples_us[count / 2] : 0, count ? samples_us[count * 99 / 100] : 0);
	return count ? 0 : 1;
}

static const char *problem(void)
{
	return errno == EINPROGRESS || errno == EAGAIN ? "no answer within 3 s" : strerror(errno);
}

static int connect_to(const struct sockaddr_in *there)
{
	int fd = open_socket();
	if (connect(fd, (const void *)there, sizeof *there) == 0)
		return fd;
	close(fd);
	return -1;
}

static int measure(const struct sockaddr_in *there, double seconds, int reconnect)
{
	char buffer[MESSAGE];
	size_t count = 0, errors = 0, length = reconnect ? 1 : MESSAGE;
	int fd = -1;
	memset(buffer, reconnect ? 'c' : 'r', sizeof buffer);
	if (!reconnect && (fd = connect_to(there)) < 0)
		return fprintf(stderr, "tcploop: connect: %s\n", problem()), 1;
	double start = now(), before = start, after = start;
	while (after - start < seconds && count < SAMPLES && errors < 20) {
		before = now();
		if (reconnect)
			fd = connect_to(there);
		int good = fd >= 0 && send(fd, buffer, length, MSG_NOSIGNAL) == (ssize_t)length &&
			   recv(fd, buffer, length, MSG_WAITALL) == (ssize_t)length;
		if (reconnect && fd >= 0) {
			/* The server closes first, so that TIME_WAIT stays on its side: wait for its FIN. */
			good = good && recv(fd, buffer + 1, 1, 0) == 0;
			close(fd);
		}
		after = now();
		if (good)
			samples_us[count++] = (after - before) * 1e6;
		else if (errors++ == 0)
			fprintf(stderr, "tcploop: first error: %s\n", problem());
	}
	return report(count, errors, after - start);
}

int main(int argc, char **argv)
{
	struct sockaddr_in there = { .sin_family = AF_INET };
	signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && !strcmp(argv[1], "server"))
		return serve(atoi(argv[2]));
	if (argc == 5 && inet_pton(AF_INET, argv[2], &there.sin_addr) == 1) {
		there.sin_port = htons(atoi(argv[3]));
		return measure(&there, atof(argv[4]), !strcmp(argv[1], "crr"));
	}
	fprintf(stderr, "usage: tcploop server PORT | rr|crr ADDRESS PORT SECONDS\n");
	return 2;
}
