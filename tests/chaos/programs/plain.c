/* A FastCGI program without a library: one request at a time, as plain as they come.
 *
 *     plain [deaf]
 *
 * deaf: ignores every signal that can be ignored. Otherwise it dies of the first one, in the middle of a request, too.
 * It tells the variable VERSION of its environment, and works WORK microseconds for each request (1000).
 * STATUS is the answer's status (200).
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char records[65536], answer[4096];

/* Read until the record that ends the request's body; return the bytes that came, 0 when the visitor left. */
static size_t read_request(int visitor) {
    size_t length = 0, at = 0;
    for (;;) {
        ssize_t count = read(visitor, records + length, sizeof records - length);
        if (count <= 0) return 0;
        length += (size_t)count;
        while (at + 8 <= length) {
            const unsigned char *head = (const unsigned char *)records + at;
            size_t content = (size_t)head[4] << 8 | head[5], whole = 8 + content + head[6];
            if (head[1] == 5 && !content) return length;
            if (at + whole > length) break;
            at += whole;
        }
    }
}

static size_t put(char *to, int type, const char *content, size_t length) {
    to[0] = 1, to[1] = (char)type, to[2] = 0, to[3] = 1, to[4] = (char)(length >> 8), to[5] = (char)length;
    to[6] = to[7] = 0;
    memcpy(to + 8, content, length);
    return 8 + length;
}

int main(int count, char **words) {
    if (count > 1 && !strcmp(words[1], "deaf"))
        for (int number = 1; number < 32; number++) signal(number, SIG_IGN);
    const char *version = getenv("VERSION"), *work = getenv("WORK"), *status = getenv("STATUS");
    for (;;) {
        int visitor = accept(0, NULL, NULL);
        if (visitor < 0) return 1;
        size_t length = read_request(visitor);
        if (length) {
            char text[2048], padding[1024];
            char *query = memmem(records, length, "QUERY_STRINGn=", 14);
            long number = query ? atol(query + 14) : 0;
            memset(padding, '.', sizeof padding - 1);
            padding[sizeof padding - 1] = 0;
            usleep((useconds_t)(work ? atoi(work) : 1000));
            int size = snprintf(text, sizeof text, "Status: %s\r\nContent-Type: text/plain\r\n\r\nok %ld %s %d %s end %ld\n",
                                status ? status : "200", number, version ? version : "0", getpid(), padding, number);
            size_t whole = put(answer, 6, text, (size_t)size);
            whole += put(answer + whole, 6, "", 0);
            whole += put(answer + whole, 3, "\0\0\0\0\0\0\0\0", 8);
            if (send(visitor, answer, whole, MSG_NOSIGNAL) < 0) perror("send");
        }
        close(visitor);
    }
}
