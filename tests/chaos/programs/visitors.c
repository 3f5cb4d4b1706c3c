/* Visitors: CLIENTS of them at a time, each asks again as soon as it was answered, or PAUSE microseconds later.
 *
 *     visitors fcgi|http ADDRESS CLIENTS PAUSE SCRIPT BOARD
 *
 * ADDRESS is a path, or a port of 127.0.0.1. Each request has a number (?n=NUMBER), and is whole only if the answer
 * says that number at its beginning and at its end:  ok NUMBER VERSION PID ... end NUMBER\n
 * The counters are in BOARD, a file that others may look at meanwhile. When standard input ends, nobody asks any more;
 * when the last has been answered, or given up after PATIENCE seconds, a line is printed for each request that failed:
 *     NUMBER refused|broken MILLISECONDS why
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 60
#define ROOM 16384
#define RETRY 5000 /* microseconds until somebody who was refused comes again */
#define FAILURES 2000
#define BUCKETS 160 /* of waiting times: eight for each doubling, from a microsecond to a second and more */

struct board {
    uint64_t sent, answered, refused, broken;
    uint64_t stale;   /* answered by an older version than another visitor had met before this one asked */
    uint64_t version; /* the newest that anybody met */
    uint64_t longest; /* microseconds, of those that were answered */
    uint64_t waits[BUCKETS];
};

enum state { PAUSING, CONNECTING, READING };

struct visitor {
    enum state state;
    int fd;
    uint64_t number, begun, due, version;
    size_t length;
    char answer[ROOM];
};

struct failure {
    uint64_t number, after;
    const char *kind;
    char why[80];
};

static struct board *board;
static struct failure failures[FAILURES];
static int failed, epoll, http, port;
static const char *address, *script;
static uint64_t pause_time;

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static void rest(struct visitor *who, uint64_t time) {
    if (who->fd >= 0) close(who->fd);
    who->fd = -1;
    who->state = PAUSING;
    /* between half and one and a half of the pause, so that they do not march in step */
    who->due = now() + (time ? time / 2 + (uint64_t)rand() % time : 0);
}

static void fail(struct visitor *who, int refused, const char *why) {
    if (refused) board->refused++;
    else board->broken++;
    if (failed < FAILURES) {
        struct failure *one = &failures[failed++];
        one->number = who->number;
        one->after = (now() - who->begun) / 1000;
        one->kind = refused ? "refused" : "broken";
        snprintf(one->why, sizeof one->why, "%s", why);
    }
    rest(who, pause_time > RETRY ? pause_time : RETRY);
}

static void count_wait(uint64_t wait) {
    int bucket = 0;
    uint64_t half = wait;
    while (half >= 16) half >>= 1, bucket += 8;
    bucket += half >= 8 ? (int)half - 8 : 0;
    board->waits[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    if (wait > board->longest) board->longest = wait;
}

/* Judge the text of an answer. */
static void judge(struct visitor *who, const char *text, size_t length) {
    unsigned long long number, version, last;
    char tail[48];
    if (length < 8 || sscanf(text, "ok %llu %llu", &number, &version) != 2 || number != who->number) {
        fail(who, 0, length ? "a wrong answer" : "an empty answer");
        return;
    }
    size_t size = length < sizeof tail - 1 ? length : sizeof tail - 1;
    memcpy(tail, text + length - size, size);
    tail[size] = 0;
    const char *end = strstr(tail, "end ");
    if (!end || tail[size - 1] != '\n' || sscanf(end, "end %llu", &last) != 1 || last != number) {
        fail(who, 0, "cut in the middle of the answer");
        return;
    }
    board->answered++;
    if (version < who->version) board->stale++;
    if (version > board->version) board->version = version;
    count_wait(now() - who->begun);
    rest(who, pause_time);
}

static void judge_http(struct visitor *who) {
    who->answer[who->length] = 0;
    int status = 0;
    char *text = strstr(who->answer, "\r\n\r\n");
    if (sscanf(who->answer, "HTTP/1.%*d %d", &status) != 1) fail(who, 0, "closed without an answer");
    else if (status != 200) {
        char why[32];
        snprintf(why, sizeof why, "status %d", status);
        fail(who, status == 502 || status == 503 || status == 504, why);
    } else if (!text) fail(who, 0, "cut in the headers");
    else judge(who, text + 4, who->length - (size_t)(text + 4 - who->answer));
}

/* Look through the records that have come; return 1 if the answer was judged. */
static int judge_records(struct visitor *who, int over) {
    static char text[ROOM];
    size_t size = 0, at = 0;
    while (at + 8 <= who->length) {
        const unsigned char *head = (const unsigned char *)who->answer + at;
        size_t content = (size_t)head[4] << 8 | head[5], whole = 8 + content + head[6];
        if (at + whole > who->length) break;
        if (head[1] == 6) {
            memcpy(text + size, who->answer + at + 8, content);
            size += content;
        } else if (head[1] == 3) {
            text[size] = 0;
            char *body = strstr(text, "\r\n\r\n");
            if (!body) fail(who, 0, size ? "cut in the headers" : "ended without an answer");
            else judge(who, body + 4, size - (size_t)(body + 4 - text));
            return 1;
        }
        at += whole;
    }
    if (over) fail(who, 0, who->length ? "cut in the middle of the answer" : "closed without an answer");
    return over;
}

static size_t put(char *to, int type, const char *content, size_t length) {
    to[0] = 1, to[1] = (char)type, to[2] = 0, to[3] = 1, to[4] = (char)(length >> 8), to[5] = (char)length;
    to[6] = to[7] = 0;
    memcpy(to + 8, content, length);
    return 8 + length;
}

static size_t pair(char *to, const char *name, const char *value) {
    size_t names = strlen(name), values = strlen(value);
    to[0] = (char)names, to[1] = (char)values; /* both shorter than 128 */
    memcpy(to + 2, name, names);
    memcpy(to + 2 + names, value, values);
    return 2 + names + values;
}

static size_t request(struct visitor *who, char *to) {
    if (http)
        return (size_t)sprintf(to, "GET /?n=%llu HTTP/1.0\r\nHost: localhost\r\n\r\n", (unsigned long long)who->number);
    char params[1024], query[32];
    size_t length = 0, size;
    snprintf(query, sizeof query, "n=%llu", (unsigned long long)who->number);
    length += pair(params + length, "REQUEST_METHOD", "GET");
    length += pair(params + length, "QUERY_STRING", query);
    length += pair(params + length, "SCRIPT_FILENAME", script);
    length += pair(params + length, "SCRIPT_NAME", "/");
    length += pair(params + length, "REDIRECT_STATUS", "200");
    size = put(to, 1, "\0\1\0\0\0\0\0\0", 8);
    size += put(to + size, 4, params, length);
    size += put(to + size, 4, "", 0);
    return size + put(to + size, 5, "", 0);
}

static void say(struct visitor *who) {
    char text[2048];
    size_t length = request(who, text);
    who->state = READING;
    if (send(who->fd, text, length, MSG_NOSIGNAL) != (ssize_t)length) fail(who, 0, strerror(errno));
}

static void come(struct visitor *who) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = who};
    who->number = ++board->sent;
    who->begun = now();
    who->length = 0;
    who->version = board->version;
    who->fd = socket(port ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int result;
    if (port) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        result = connect(who->fd, (struct sockaddr *)&to, sizeof to);
    } else {
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        snprintf(to.sun_path, sizeof to.sun_path, "%s", address);
        result = connect(who->fd, (struct sockaddr *)&to, sizeof to);
    }
    if (result && errno != EINPROGRESS) {
        fail(who, 1, strerror(errno));
        return;
    }
    who->state = CONNECTING;
    epoll_ctl(epoll, EPOLL_CTL_ADD, who->fd, &event);
    if (!result) say(who);
}

static void attend(struct visitor *who, uint32_t events) {
    if (who->state == CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(who->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            fail(who, 1, strerror(error));
            return;
        }
        say(who);
    }
    while (who->state == READING) {
        ssize_t count = recv(who->fd, who->answer + who->length, ROOM - 1 - who->length, 0);
        if (count < 0 && errno == EAGAIN) break;
        if (count < 0) {
            fail(who, 0, strerror(errno));
            return;
        }
        who->length += (size_t)count;
        if (http && !count) judge_http(who);
        else if (!http && judge_records(who, !count)) return;
        if (who->length >= ROOM - 1) fail(who, 0, "too long an answer");
    }
}

int main(int count, char **words) {
    if (count != 7) return 2;
    http = !strcmp(words[1], "http");
    address = words[2];
    port = address[0] == '/' ? 0 : atoi(address);
    int clients = atoi(words[3]), asking = 1;
    pause_time = (uint64_t)atoll(words[4]);
    script = words[5];
    int file = open(words[6], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0 || ftruncate(file, sizeof *board)) return 1;
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    struct visitor *all = calloc((size_t)clients, sizeof *all);
    if (board == MAP_FAILED || !all) return 1;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event input = {.events = EPOLLIN | EPOLLHUP, .data.ptr = NULL}, events[256];
    epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &input);
    for (int i = 0; i < clients; i++) all[i].fd = -1, rest(&all[i], pause_time);
    uint64_t patience = UINT64_MAX;
    for (;;) {
        uint64_t time = now(), next = time + 100000;
        int busy = 0;
        for (int i = 0; i < clients; i++) {
            struct visitor *who = &all[i];
            if (who->state != PAUSING) {
                busy++;
                if (time > patience || time - who->begun > PATIENCE * 1000000ull) fail(who, 0, "no answer");
            } else if (asking) {
                if (who->due <= time) come(who);
                if (who->state == PAUSING && who->due < next) next = who->due;
            }
        }
        if (!asking && !busy) break;
        time = now();
        struct timespec wait = {0, next > time ? (long)(next - time) * 1000 : 0};
        int ready = epoll_pwait2(epoll, events, 256, &wait, NULL);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr) attend(events[i].data.ptr, events[i].events);
            else if (asking) {
                asking = 0;
                patience = now() + PATIENCE * 1000000ull;
                epoll_ctl(epoll, EPOLL_CTL_DEL, 0, NULL);
            }
        }
    }
    for (int i = 0; i < failed; i++)
        printf("%llu %s %llu %s\n", (unsigned long long)failures[i].number, failures[i].kind,
               (unsigned long long)failures[i].after, failures[i].why);
    return 0;
}
