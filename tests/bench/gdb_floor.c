/*
 * The floor for the bench of the remote stub: a stub that does no work. It plays back a recorded
 * conversation: the first packet of a connection is answered by the first entry of the table, the
 * second by the second. What gdb takes with this one, no stub can go below.
 *
 *   gdb_floor TABLE     prints its port, serves one connection after the other
 *
 * TABLE: entries of four bytes length, little-endian, and that many bytes to send.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint8_t *table;
static size_t table_bytes;

static __attribute__((noreturn)) void die(const char *what)
{
    fprintf(stderr, "gdb_floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void map_table(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *p;

    if (fd < 0 || fstat(fd, &st) < 0)
        die(path);
    table_bytes = (size_t)st.st_size;
    p = mmap(NULL, table_bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (p == MAP_FAILED)
        die(path);
    table = p;
    close(fd);
}

/* Sends the entry at *at and moves *at behind it. False: there is none, or nobody listens. */
static bool answer(int fd, size_t *at)
{
    uint32_t len;
    size_t sent = 0;

    if (table_bytes - *at < sizeof len)
        return false;
    memcpy(&len, table + *at, sizeof len);
    *at += sizeof len;
    if (len > table_bytes - *at)
        return false;
    while (sent < len) {
        ssize_t n = send(fd, table + *at + sent, len - sent, MSG_NOSIGNAL);

        if (n <= 0)
            return false;
        sent += (size_t)n;
    }
    *at += len;
    return true;
}

/* A packet ends two characters behind '#', which is in none unescaped. */
static void serve(int fd)
{
    size_t at = 0;
    unsigned sum = 0; /* characters of a checksum to come */
    char bytes[65536];
    ssize_t n;

    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
        for (ssize_t i = 0; i < n; i++) {
            if (sum && !--sum && !answer(fd, &at))
                return;
            if (!sum && bytes[i] == '#')
                sum = 2;
        }
}

int main(int argc, char **argv)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (argc != 2) {
        fprintf(stderr, "usage: gdb_floor TABLE\n");
        return 2;
    }
    map_table(argv[1]);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 1) < 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) < 0)
        die("cannot listen");
    printf("%u\n", ntohs(a.sin_port));
    fflush(stdout);
    for (;;) {
        int client = accept(fd, NULL, NULL);

        if (client < 0)
            die("accept");
        if (setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
            die("TCP_NODELAY");
        serve(client);
        close(client);
    }
}
