/* Runs a target where there is no libFuzzer: over the corpus, then over random inputs that are made from it.
 *
 *     TARGET [-runs=N] [-max_total_time=SECONDS] [-seed=N] [-artifact_prefix=PATH] FILE_OR_FOLDER...
 *
 * The flags are libFuzzer's. It knows nothing of coverage: it changes inputs blindly, and a seed repeats a run. The
 * input of a process that dies is written to PATH and `crash`; given as a FILE, it is run again.
 */
#include "fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

enum { INPUTS_MAX = 4096, LONGEST = 8192, PATH_BYTES = 4096 };

static struct {
    uint8_t *data;
    size_t bytes;
} inputs[INPUTS_MAX];
static size_t inputs_count;
static uint64_t seed, runs = UINT64_MAX;
static double seconds = 1e9;
static const char *artifact_prefix = "./";
static uint8_t present[LONGEST];
static size_t present_bytes;

/* Sanitizers that are there are asked to tell us; where there are none, nothing is called. */
extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void keep_input(void) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%scrash", artifact_prefix);
    FILE *file = fopen(path, "wb");
    if (!file) return;
    fwrite(present, 1, present_bytes, file);
    fclose(file);
    fprintf(stderr, "the input is kept in %s (seed %llu)\n", path, (unsigned long long)seed);
}

static void on_abort(int number) {
    keep_input();
    signal(number, SIG_DFL);
    raise(number);
}

/* xorshift64* (Marsaglia 2003, Vigna 2014). */
static uint64_t random_word(void) {
    static uint64_t word;
    if (!word) word = seed * 0x9E3779B97F4A7C15 | 1;
    word ^= word >> 12, word ^= word << 25, word ^= word >> 27;
    return word * 0x2545F4914F6CDD1D;
}

static void run_present(void) {
    uint8_t *copy = exact_copy(present, present_bytes);
    LLVMFuzzerTestOneInput(copy, present_bytes);
    free(copy);
}

static void read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    present_bytes = fread(present, 1, LONGEST, file);
    fclose(file);
    if (inputs_count < INPUTS_MAX) {
        inputs[inputs_count].data = exact_copy(present, present_bytes);
        inputs[inputs_count++].bytes = present_bytes;
    }
    run_present();
}

static void read_path(const char *path) {
    struct stat status;
    DIR *folder = stat(path, &status) == 0 && S_ISDIR(status.st_mode) ? opendir(path) : NULL;
    if (!folder) {
        read_file(path);
        return;
    }
    for (struct dirent *entry; (entry = readdir(folder));) {
        char inner[PATH_BYTES];
        if (entry->d_name[0] == '.') continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        read_path(inner);
    }
    closedir(folder);
}

static void insert(size_t place, size_t count) {
    if (present_bytes + count > LONGEST) return;
    memmove(present + place + count, present + place, present_bytes - place);
    for (size_t i = 0; i < count; i++) present[place + i] = (uint8_t)random_word();
    present_bytes += count;
}

static void change_once(void) {
    size_t place = present_bytes ? random_word() % present_bytes : 0;
    size_t count = 1 + random_word() % (random_word() % 8 ? 8 : 256);
    switch (present_bytes ? random_word() % 5 : 0) {
    case 0: insert(place, count); break;
    case 1: present[place] ^= (uint8_t)(1 << random_word() % 8); break;
    case 2: present[place] = (uint8_t)random_word(); break;
    case 3: present[place] = (uint8_t)(random_word() % 2 ? 0xFF : 0x80); break;
    default:
        if (count > present_bytes - place) count = present_bytes - place;
        memmove(present + place, present + place + count, present_bytes - place - count);
        present_bytes -= count;
    }
}

static void run_random(void) {
    present_bytes = 0;
    if (inputs_count && random_word() % 8) {
        size_t one = random_word() % inputs_count;
        memcpy(present, inputs[one].data, present_bytes = inputs[one].bytes);
    }
    for (uint64_t changes = 1 + random_word() % 16; changes; changes--) change_once();
    run_present();
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* False: it is no flag. */
static int read_flag(const char *text) {
    if (strncmp(text, "-runs=", 6) == 0) runs = strtoull(text + 6, NULL, 10);
    else if (strncmp(text, "-max_total_time=", 16) == 0) seconds = strtod(text + 16, NULL);
    else if (strncmp(text, "-seed=", 6) == 0) seed = strtoull(text + 6, NULL, 10);
    else if (strncmp(text, "-artifact_prefix=", 17) == 0) artifact_prefix = text + 17;
    else return 0;
    return 1;
}

int main(int count, char **arguments) {
    double start = now();
    uint64_t done = 0;
    int paths = 0;
    seed = (uint64_t)time(NULL);
    for (int i = 1; i < count; i++)
        if (!read_flag(arguments[i])) arguments[paths++] = arguments[i];
    fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(keep_input);
    signal(SIGABRT, on_abort);
    signal(SIGSEGV, on_abort);
    for (int i = 0; i < paths; i++) read_path(arguments[i]);
    for (; done < runs && now() - start < seconds; done++) run_random();
    fprintf(stderr, "%zu inputs of the corpus, %llu random ones in %.0f s\n", inputs_count, (unsigned long long)done,
            now() - start);
    return 0;
}
