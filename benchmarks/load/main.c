/* Load generator for WebSocket servers.
 *
 * Opens connections, warms up, measures for a fixed time, waits for the answers
 * that are due, closes, and prints one JSON object. It ends with status 1 on the
 * first byte that is not as it must be.
 *
 * One thread and one epoll; Linux only.
 */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "load.h"

#define SECOND 1000000000u
#define OPEN_SECONDS 60
#define CLOSE_SECONDS 5
#define LISTING_SECONDS 0.5

struct options {
    int port;
    double warm_up;
    double time;
    double drain; /* most time to wait for answers that are due */
    int server; /* process whose CPU time is read; 0 for none */
    int binary;
    int touch;
    size_t size;
    enum content content;
};

static const char usage[] =
    "usage: load --port=N [--host=127.0.0.1] [--clients=1] [--depth=1]\n"
    "            [--work=echo|broadcast|idle|connect] [--batch=50]\n"
    "            [--content=plain|json|words] [--size=32] [--binary] [--deflate]\n"
    "            [--warm-up=0.5] [--time=2] [--drain=10] [--touch] [--server=PID]\n";

static int
parse(int argc, char **argv, struct load *load, struct options *options)
{
    static const struct option names[] = {
        {"port", required_argument, NULL, 'p'},
        {"host", required_argument, NULL, 'h'},
        {"work", required_argument, NULL, 'w'},
        {"clients", required_argument, NULL, 'c'},
        {"depth", required_argument, NULL, 'd'},
        {"batch", required_argument, NULL, 'b'},
        {"size", required_argument, NULL, 's'},
        {"binary", no_argument, NULL, 'B'},
        {"warm-up", required_argument, NULL, 'u'},
        {"time", required_argument, NULL, 't'},
        {"deflate", no_argument, NULL, 'z'},
        {"touch", no_argument, NULL, 'T'},
        {"content", required_argument, NULL, 'C'},
        {"drain", required_argument, NULL, 'D'},
        {"server", required_argument, NULL, 'S'},
        {NULL, 0, NULL, 0},
    };
    const char *host = "127.0.0.1";
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'p': options->port = atoi(optarg); break;
        case 'h': host = optarg; break;
        case 'w':
            if (strcmp(optarg, "echo") == 0)
                load->work = WORK_ECHO;
            else if (strcmp(optarg, "broadcast") == 0)
                load->work = WORK_BROADCAST;
            else if (strcmp(optarg, "idle") == 0)
                load->work = WORK_IDLE;
            else if (strcmp(optarg, "connect") == 0)
                load->work = WORK_CONNECT;
            else
                return -1;
            break;
        case 'C':
            if (strcmp(optarg, "plain") == 0)
                options->content = CONTENT_PLAIN;
            else if (strcmp(optarg, "json") == 0)
                options->content = CONTENT_JSON;
            else if (strcmp(optarg, "words") == 0)
                options->content = CONTENT_WORDS;
            else
                return -1;
            break;
        case 'c': load->clients = strtoul(optarg, NULL, 10); break;
        case 'd': load->depth = strtoul(optarg, NULL, 10); break;
        case 'b': load->batch = strtoul(optarg, NULL, 10); break;
        case 's': options->size = strtoull(optarg, NULL, 10); break;
        case 'B': options->binary = 1; break;
        case 'u': options->warm_up = atof(optarg); break;
        case 't': options->time = atof(optarg); break;
        case 'z': load->deflate = 1; break;
        case 'T': options->touch = 1; break;
        case 'D': options->drain = atof(optarg); break;
        case 'S': options->server = atoi(optarg); break;
        default: return -1;
        }
    }
    if (optind != argc || options->port < 1 || options->port > 65535
        || load->clients < 1 || load->depth < 1 || load->batch < 1
        || options->size < 1 || options->warm_up < 0 || options->time <= 0
        || (load->work == WORK_CONNECT && load->depth != 1)
        || (load->deflate && load->work != WORK_IDLE
            && (options->content != CONTENT_WORDS || options->size < STAMP_SIZE)))
        return -1;
    load->address.sin_family = AF_INET;
    load->address.sin_port = htons(options->port);
    if (inet_pton(AF_INET, host, &load->address.sin_addr) != 1)
        return -1;
    snprintf(load->host, sizeof(load->host), "%s:%d", host, options->port);
    return 0;
}

static uint64_t
after(double seconds)
{
    return now_ns() + (uint64_t)(seconds * SECOND);
}

/* CPU time of another process in seconds, all threads; 0 when unknown. */
static double
server_cpu(int pid)
{
    char path[64], line[1024];
    unsigned long user = 0, system = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    file = pid > 0 ? fopen(path, "r") : NULL;
    if (file == NULL)
        return 0;
    if (fgets(line, sizeof(line), file) != NULL) {
        /* The name, in parentheses, may hold anything. */
        char *rest = strrchr(line, ')');
        if (rest != NULL)
            sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                   &user, &system);
    }
    fclose(file);
    return (double)(user + system) / sysconf(_SC_CLK_TCK);
}

/* Resident memory of another process in KiB; 0 when unknown. */
static long
server_kib(int pid)
{
    char path[64];
    long pages = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/statm", pid);
    file = pid > 0 ? fopen(path, "r") : NULL;
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*d %ld", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static double
own_cpu(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_utime.tv_usec / 1e6 + usage.ru_stime.tv_sec
           + usage.ru_stime.tv_usec / 1e6;
}

/* Stay connected until standard input ends. */
static int
idle(struct load *load, int touch)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    char byte;

    if (touch) {
        if (load_start(load) < 0)
            return -1;
        load->sending = 0;
        if (load_run(load, after(OPEN_SECONDS), is_drained) != 1)
            return -1;
    }
    printf("{\"open\": %u}\n", load->open);
    fflush(stdout);
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0) {
        perror("load: standard input must be a pipe");
        return -1;
    }
    if (load_run(load, after(3600), NULL) < 0)
        return -1;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    epoll_ctl(load->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    return 0;
}

static void
print_results(const struct load *load, double seconds, double opening, double server,
              long kib, double own, uint64_t oldest)
{
    const struct histogram *waits = &load->waits;
    uint64_t fewest = UINT64_MAX, most = 0;
    double slowest = 0;

    for (unsigned i = 0; i < load->clients; i++) {
        const struct client *client = &load->all[i];
        double mean = client->count ? (double)client->wait_sum / client->count : 0;
        fewest = client->count < fewest ? client->count : fewest;
        most = client->count > most ? client->count : most;
        slowest = mean > slowest ? mean : slowest;
    }
    printf("{\"clients\": %u, \"depth\": %u, \"size\": %zu, \"seconds\": %.4f, "
           "\"messages\": %" PRIu64 ", \"rate\": %.1f, ",
           load->clients, load->depth, load->plan.size, seconds, waits->count,
           waits->count / seconds);
    printf("\"mean_us\": %.1f, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, "
           "\"p999_us\": %.1f, \"max_us\": %.1f, ",
           waits->count ? waits->sum / 1e3 / waits->count : 0,
           histogram_quantile(waits, 0.5) / 1e3, histogram_quantile(waits, 0.9) / 1e3,
           histogram_quantile(waits, 0.99) / 1e3,
           histogram_quantile(waits, 0.999) / 1e3, waits->max / 1e3);
    printf("\"client_min\": %" PRIu64 ", \"client_max\": %" PRIu64 ", "
           "\"slowest_client_us\": %.1f, \"oldest_pending_us\": %.1f, "
           "\"unanswered\": %" PRIu64 ", ",
           fewest, most, slowest / 1e3, oldest / 1e3, load->in_flight);
    printf("\"open_seconds\": %.4f, \"pings\": %" PRIu64 ", \"closed\": %u, "
           "\"server_cpu\": %.3f, \"server_kib\": %ld, \"load_cpu\": %.3f}\n",
           opening, load->pings, load->ended, server / seconds, kib, own / seconds);
}

static int
measure(struct load *load, const struct options *options, double opening)
{
    double server, own, seconds;
    uint64_t start, oldest;
    long kib;

    /* Threads list their client after the 101, and who isn't listed gets nothing. */
    if (load->work == WORK_BROADCAST && load_run(load, after(LISTING_SECONDS), NULL) < 0)
        return -1;
    if (load_start(load) < 0 || load_run(load, after(options->warm_up), NULL) < 0)
        return -1;

    load->measuring = 1;
    server = server_cpu(options->server);
    own = own_cpu();
    start = now_ns();
    if (load_run(load, after(options->time), NULL) < 0)
        return -1;
    seconds = (now_ns() - start) / 1e9;
    server = server_cpu(options->server) - server;
    own = own_cpu() - own;
    kib = server_kib(options->server);
    oldest = load_oldest(load);

    load->measuring = 0;
    load->sending = 0;
    if (load_run(load, after(options->drain), is_drained) < 0
        || load_close(load, after(CLOSE_SECONDS)) < 0)
        return -1;
    print_results(load, seconds, opening, server, kib, own, oldest);
    return 0;
}

/* As many descriptors as we may have. */
static void
raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int
main(int argc, char **argv)
{
    static struct load load = {.clients = 1, .depth = 1, .batch = 50, .epoll = -1};
    struct options options = {.warm_up = 0.5, .time = 2, .drain = 10, .size = 32};
    uint64_t start;
    int failed;

    if (parse(argc, argv, &load, &options) < 0) {
        fputs(usage, stderr);
        return 2;
    }
    raise_limit();
    if (plan_init(&load.plan, options.binary ? OPCODE_BINARY : OPCODE_TEXT,
                  options.content, options.size) < 0
        || (load.deflate && load.work != WORK_IDLE && plan_compress(&load.plan) < 0)
        || load_init(&load) < 0) {
        perror("load");
        return 1;
    }
    start = now_ns();
    failed = load.work == WORK_CONNECT ? 0 : load_open(&load, after(OPEN_SECONDS));
    if (!failed) {
        double opening = (now_ns() - start) / 1e9;
        if (load.work == WORK_IDLE)
            failed = idle(&load, options.touch)
                     || load_close(&load, after(CLOSE_SECONDS));
        else
            failed = measure(&load, &options, opening);
    }
    load_free(&load);
    return failed ? 1 : 0;
}
