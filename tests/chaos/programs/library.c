/* A FastCGI program on libfcgi, with four threads when it is told so:  library [threaded]
 *
 * It tells the variable VERSION of its environment, and works WORK microseconds for each request (1000).
 */
#include <fcgiapp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t accepting = PTHREAD_MUTEX_INITIALIZER;
static const char *version;
static useconds_t work = 1000;

static void *serve(void *unused) {
    FCGX_Request request;
    char padding[1024];
    memset(padding, '.', sizeof padding - 1);
    padding[sizeof padding - 1] = 0;
    FCGX_InitRequest(&request, 0, 0);
    for (;;) {
        pthread_mutex_lock(&accepting);
        int result = FCGX_Accept_r(&request);
        pthread_mutex_unlock(&accepting);
        if (result < 0) return unused;
        const char *query = FCGX_GetParam("QUERY_STRING", request.envp);
        long number = query && !strncmp(query, "n=", 2) ? atol(query + 2) : 0;
        usleep(work);
        FCGX_FPrintF(request.out, "Content-Type: text/plain\r\n\r\nok %ld %s %d %s end %ld\n", number, version,
                     (int)getpid(), padding, number);
        FCGX_Finish_r(&request);
    }
}

int main(int count, char **words) {
    pthread_t thread;
    version = getenv("VERSION") ? getenv("VERSION") : "0";
    if (getenv("WORK")) work = (useconds_t)atoi(getenv("WORK"));
    FCGX_Init();
    if (count > 1 && !strcmp(words[1], "threaded"))
        for (int i = 1; i < 4; i++) pthread_create(&thread, NULL, serve, NULL);
    serve(NULL);
    return 1;
}
