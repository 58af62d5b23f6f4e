/* What load says: one JSON object a line for the harness, or lines for people. */
#include "load.h"

#include <stdio.h>

static double share(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

/* In microseconds. */
static double percentile(double fraction)
{
    uint64_t count = 0, below = 0;
    for (int i = 0; i < LATENCY_BUCKETS; i++)
        count += totals.latency[i];
    for (int i = 0; i < LATENCY_BUCKETS; i++) {
        below += totals.latency[i];
        if (below && below >= fraction * count)
            return (i < 64 ? i : (i % 64 + 64.5) * (1ull << (i / 64 - 1))) / 1e3;
    }
    return 0;
}

void report_connected(void)
{
    int count = options.subscribers + options.publishers;
    double seconds = totals.connect_ns / 1e9, rate = share(count, seconds);
    if (options.json)
        printf("{\"phase\": \"connected\", \"connections\": %d, \"connect_seconds\": %.6f, "
               "\"upgrades_per_second\": %.1f, \"load_cpu_seconds\": %.6f}\n", count, seconds, rate,
               totals.connect_cpu_ns / 1e9);
    else
        printf("%d upgrades in %.3f s, %.0f a second, load %.0f %% busy\n", count, seconds, rate,
               100 * share(totals.connect_cpu_ns, totals.connect_ns));
    fflush(stdout);
}

static void print_json(double seconds, double busy)
{
    printf("{\"phase\": \"done\", \"seconds\": %.6f, \"deliveries\": %lu, \"deliveries_per_second\": %.1f, "
           "\"mb_per_second\": %.3f, ", seconds, totals.delivered, share(totals.delivered, seconds),
           share((double)totals.delivered * options.size, seconds) / 1e6);
    printf("\"lost\": %lu, \"duplicated\": %lu, \"reordered\": %lu, \"malformed\": %lu, \"departed\": %d, "
           "\"close_code\": %d, \"stalled_gone\": %d, \"stalled_received\": %lu, ", totals.lost, totals.duplicated,
           totals.reordered, totals.malformed, totals.departed, totals.close_code, totals.stalled_gone,
           totals.stalled_received);
    printf("\"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, ", percentile(.5), percentile(.99), percentile(1));
    printf("\"load_cpu_seconds\": %.6f, \"load_user_seconds\": %.6f, \"load_busy\": %.4f, \"bottleneck\": %s}\n",
           totals.cpu_ns / 1e9, totals.user_ns / 1e9, busy, busy > .97 ? "true" : "false");
}

static void print_lines(double seconds, double busy)
{
    printf("%lu deliveries in %.3f s: %.0f a second, %.1f MB/s\n", totals.delivered, seconds,
           share(totals.delivered, seconds), share((double)totals.delivered * options.size, seconds) / 1e6);
    printf("lost %lu, duplicated %lu, reordered %lu, malformed %lu, departed %d", totals.lost, totals.duplicated,
           totals.reordered, totals.malformed, totals.departed);
    printf(totals.close_code ? ", closed with %d\n" : "\n", totals.close_code);
    if (options.stalled)
        printf("stalled: %d of %d gone, after %lu messages\n", totals.stalled_gone, options.stalled,
               totals.stalled_received);
    if (options.rate > 0)
        printf("latency p50 %.0f us, p99 %.0f us, max %.0f us\n", percentile(.5), percentile(.99), percentile(1));
    printf("load: %.3f s CPU, %.1f ns a delivery, %.1f %% busy%s\n", totals.cpu_ns / 1e9,
           share(totals.cpu_ns, totals.delivered), 100 * busy, busy > .97 ? ": it was the bottleneck" : "");
}

int report(void)
{
    double seconds = totals.last_ns > totals.start_ns ? (totals.last_ns - totals.start_ns) / 1e9 : 0;
    double busy = share(totals.cpu_ns, totals.wall_ns);
    if (options.json)
        print_json(seconds, busy);
    else
        print_lines(seconds, busy);
    return totals.lost || totals.duplicated || totals.reordered || totals.malformed || totals.departed;
}
