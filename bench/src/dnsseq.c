/* A sequential DNS client: one A query at a time, the names on standard input in turn.
 *
 *   dnsseq ADDRESS PORT SECONDS < names
 *
 * Every answer is checked (its id, no error, at least one record). Prints the same line as tcploop.
 * dnsperf paces itself at one outstanding query, which is why this exists.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { NAMES = 4096, PACKET = 512, SAMPLES = 4 << 20 };
static unsigned char queries[NAMES][PACKET];
static size_t lengths[NAMES];
static float samples_us[SAMPLES];

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int ascending(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

static size_t encode(unsigned char *packet, char *name)
{
	static const unsigned char header[12] = { 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0 };
	unsigned char *p = packet + sizeof header;
	memcpy(packet, header, sizeof header);
	for (char *label = strtok(name, "."); label; label = strtok(NULL, ".")) {
		size_t n = strlen(label);
		if (n > 63 || p + n + 6 > packet + PACKET)
			return 0;
		*p++ = n;
		memcpy(p, label, n);
		p += n;
	}
	memcpy(p, "\0\0\1\0\1", 5); /* root, type A, class IN */
	return p + 5 - packet;
}

int main(int argc, char **argv)
{
	struct sockaddr_in there = { .sin_family = AF_INET };
	char line[300];
	size_t names = 0, count = 0, errors = 0;
	if (argc != 4 || inet_pton(AF_INET, argv[1], &there.sin_addr) != 1)
		return fprintf(stderr, "usage: dnsseq ADDRESS PORT SECONDS < names\n"), 2;
	there.sin_port = htons(atoi(argv[2]));
	while (names < NAMES && fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\r\n")] = 0;
		if (*line && (lengths[names] = encode(queries[names], line)))
			names++;
	}
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct timeval patience = { .tv_sec = 1 };
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	if (!names || connect(fd, (void *)&there, sizeof there))
		return perror("dnsseq: no names, or connect"), 1;
	double start = now(), after = start;
	for (unsigned id = 1; after - start < atof(argv[3]) && count < SAMPLES && errors < 20; id++) {
		unsigned char *query = queries[id % names], answer[4096];
		query[0] = id >> 8, query[1] = id;
		double before = now();
		send(fd, query, lengths[id % names], 0);
		ssize_t n = recv(fd, answer, sizeof answer, 0);
		after = now();
		int good = n > 12 && answer[0] == query[0] && answer[1] == query[1] && (answer[3] & 15) == 0 &&
			   (answer[6] || answer[7]);
		if (good)
			samples_us[count++] = (after - before) * 1e6;
		else
			errors++;
	}
	qsort(samples_us, count, sizeof *samples_us, ascending);
	printf("count %zu errors %zu seconds %.6f p50_us %.2f p99_us %.2f\n", count, errors, after - start,
	       count ? samples_us[count / 2] : 0, count ? samples_us[count * 99 / 100] : 0);
	return count ? 0 : 1;
}
