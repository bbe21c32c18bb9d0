/* A libnvidia-ml.so.1 without a GPU: it answers NVML calls from a text file that a test writes.
 *
 * The file is named by NVML_STUB_STATE and read again whenever it has changed. One statement a line;
 * GPU is a number or * for all; where lines disagree, the last one holds.
 *
 *     set GPU KEY VALUE        what a GPU measures or is: set 0 power_mw 612400, set * name NVIDIA H100
 *     error FUNCTION GPU CODE  the nvmlReturn_t that a function answers with (0: works again)
 *     delay FUNCTION GPU MS    how long a function takes
 *     hang FUNCTION GPU        a function returns only when this line is gone
 *     log PATH                 append "FUNCTION GPU" to PATH for each call
 *
 * Keys of the driver itself are set with GPU -1 (count, driver), and so are errors, delays and hangs
 * of functions without a GPU. A call about one of several things carries its number in its name:
 * nvmlDeviceGetClockInfo:1, nvmlDeviceGetFieldValues:82, nvmlDeviceGetTemperatureThreshold:1.
 *
 * To add a function: write ENTER, then read its values with number() or text(). Declarations follow
 * nvml.h (13.5); only what the agent calls is here.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
    SUCCESS = 0,
    ERROR_UNINITIALIZED = 1,
    ERROR_INVALID_ARGUMENT = 2,
    ERROR_NOT_SUPPORTED = 3,
    ERROR_INSUFFICIENT_SIZE = 7,
    ERROR_GPU_IS_LOST = 15,
    ERROR_ARGUMENT_VERSION_MISMATCH = 25,
};
enum { MAX_STATEMENTS = 4096, DRIVER = -1, ALL = -2, HANG_POLL_MS = 5 };

typedef enum { SET, ERROR, DELAY, HANG } Verb;
typedef struct {
    Verb verb;
    int gpu;
    char name[96];  /* of a function or key */
    char value[96];
} Statement;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Statement statements[MAX_STATEMENTS];
static int count;
static char log_path[512];
static struct stat seen;
static int initialised;

static int parse_gpu(const char *word) { return strcmp(word, "*") == 0 ? ALL : atoi(word); }

static void parse(char *line) {
    static const char *verbs[] = {"set", "error", "delay", "hang"};
    char verb[16], a[96], b[96], rest[96] = "";
    if (sscanf(line, "log %511s", log_path) == 1 || count == MAX_STATEMENTS) return;
    if (sscanf(line, "%15s %95s %95s %95[^\n]", verb, a, b, rest) < 3) return;
    for (int i = 0; i < 4; i++) {
        if (strcmp(verb, verbs[i]) != 0) continue;
        Statement *s = &statements[count++];
        s->verb = (Verb)i;
        s->gpu = parse_gpu(i == SET ? a : b);
        strcpy(s->name, i == SET ? b : a);
        strcpy(s->value, rest);
    }
}

static int unchanged(const struct stat *now) {
    return now->st_ino == seen.st_ino && now->st_size == seen.st_size && now->st_mtim.tv_sec == seen.st_mtim.tv_sec &&
           now->st_mtim.tv_nsec == seen.st_mtim.tv_nsec;
}

/* Read the state again if its file has changed. */
static void refresh(void) {
    const char *path = getenv("NVML_STUB_STATE");
    char line[512];
    struct stat now;
    pthread_mutex_lock(&lock);
    FILE *file = path && stat(path, &now) == 0 && !unchanged(&now) ? fopen(path, "r") : NULL;
    if (file != NULL) {
        count = 0;
        log_path[0] = 0;
        while (fgets(line, sizeof line, file)) parse(line);
        fclose(file);
        seen = now;
    }
    pthread_mutex_unlock(&lock);
}

/* The last statement that applies, copied to `value` (of 96 bytes); 0 when there is none. */
static int find(Verb verb, int gpu, const char *name, char *value) {
    int found = 0;
    pthread_mutex_lock(&lock);
    for (int i = count - 1; i >= 0 && !found; i--) {
        const Statement *s = &statements[i];
        if (s->verb != verb || strcmp(s->name, name) != 0) continue;
        if (s->gpu != gpu && !(s->gpu == ALL && gpu != DRIVER)) continue;
        strcpy(value, s->value);
        found = 1;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

static int number(int gpu, const char *key, long long *value) {
    char word[96];
    if (!find(SET, gpu, key, word)) return ERROR_NOT_SUPPORTED;
    *value = atoll(word);
    return SUCCESS;
}

static int text(int gpu, const char *key, char *buffer, unsigned size) {
    char word[96];
    if (!find(SET, gpu, key, word)) return ERROR_NOT_SUPPORTED;
    if (strlen(word) >= size) return ERROR_INSUFFICIENT_SIZE;
    strcpy(buffer, word);
    return SUCCESS;
}

static int unsigned_number(int gpu, const char *key, unsigned *value) {
    long long wide;
    int code = number(gpu, key, &wide);
    if (code == SUCCESS) *value = (unsigned)wide;
    return code;
}

static void pause_ms(long long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static void note(const char *function, int gpu) {
    pthread_mutex_lock(&lock);
    FILE *file = log_path[0] ? fopen(log_path, "a") : NULL;
    if (file != NULL) {
        fprintf(file, "%s %d\n", function, gpu);
        fclose(file);
    }
    pthread_mutex_unlock(&lock);
}

/* What the state says about a call before it answers: time it takes, and its error. */
static int enter(const char *function, int gpu) {
    char word[96];
    long long lost = 0;
    refresh();
    note(function, gpu);
    if (find(DELAY, gpu, function, word)) pause_ms(atoll(word));
    while (find(HANG, gpu, function, word)) {
        pause_ms(HANG_POLL_MS);
        refresh();
    }
    if (find(ERROR, gpu, function, word)) return atoi(word);
    if (gpu != DRIVER && number(gpu, "lost", &lost) == SUCCESS && lost) return ERROR_GPU_IS_LOST;
    return SUCCESS;
}

#define ENTER(function, gpu)                        \
    do {                                            \
        int code_ = enter(function, gpu);           \
        if (code_ != SUCCESS) return code_;         \
        if (!initialised) return ERROR_UNINITIALIZED; \
    } while (0)

/* A handle is the number of the GPU plus one, so that none is NULL. */
typedef struct device *Device;
static int index_of(Device device) { return (int)(intptr_t)device - 1; }
#define ENTER_GPU(function) ENTER(function, index_of(device))

/* -- the library -- */

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    int code = enter("nvmlInitWithFlags", DRIVER);
    if (code == SUCCESS) initialised++;
    return code;
}

int nvmlShutdown(void) {
    ENTER("nvmlShutdown", DRIVER);
    initialised--;
    return SUCCESS;
}

const char *nvmlErrorString(int code) {
    static __thread char buffer[32];
    snprintf(buffer, sizeof buffer, "stub error %d", code);
    return buffer;
}

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    ENTER("nvmlSystemGetDriverVersion", DRIVER);
    return text(DRIVER, "driver", version, length);
}

int nvmlDeviceGetCount_v2(unsigned *devices) {
    ENTER("nvmlDeviceGetCount", DRIVER);
    return unsigned_number(DRIVER, "count", devices);
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *device) {
    ENTER("nvmlDeviceGetHandleByIndex", (int)index);
    unsigned devices = 0;
    unsigned_number(DRIVER, "count", &devices);
    if (index >= devices) return ERROR_INVALID_ARGUMENT;
    *device = (Device)(intptr_t)(index + 1);
    return SUCCESS;
}

/* -- what a GPU is -- */

int nvmlDeviceGetName(Device device, char *name, unsigned length) {
    ENTER_GPU("nvmlDeviceGetName");
    return text(index_of(device), "name", name, length);
}

int nvmlDeviceGetUUID(Device device, char *uuid, unsigned length) {
    ENTER_GPU("nvmlDeviceGetUUID");
    return text(index_of(device), "uuid", uuid, length);
}

int nvmlDeviceGetEnforcedPowerLimit(Device device, unsigned *limit_mw) {
    ENTER_GPU("nvmlDeviceGetEnforcedPowerLimit");
    return unsigned_number(index_of(device), "power_limit_mw", limit_mw);
}

int nvmlDeviceGetTemperatureThreshold(Device device, int kind, unsigned *threshold_c) {
    static const char *keys[] = {"shutdown_c", "slowdown_c", "mem_max_c", "gpu_max_c"};
    char function[64];
    snprintf(function, sizeof function, "nvmlDeviceGetTemperatureThreshold:%d", kind);
    ENTER_GPU(function);
    if (kind < 0 || kind > 3) return ERROR_NOT_SUPPORTED;
    return unsigned_number(index_of(device), keys[kind], threshold_c);
}

/* -- what a GPU measures -- */

int nvmlDeviceGetPowerUsage(Device device, unsigned *power_mw) {
    ENTER_GPU("nvmlDeviceGetPowerUsage");
    return unsigned_number(index_of(device), "power_mw", power_mw);
}

int nvmlDeviceGetTotalEnergyConsumption(Device device, unsigned long long *energy_mj) {
    ENTER_GPU("nvmlDeviceGetTotalEnergyConsumption");
    long long value;
    int code = number(index_of(device), "energy_mj", &value);
    if (code == SUCCESS) *energy_mj = (unsigned long long)value;
    return code;
}

typedef struct {
    unsigned version;
    int sensor;
    int temperature_c;
} Temperature;

int nvmlDeviceGetTemperatureV(Device device, Temperature *answer) {
    ENTER_GPU("nvmlDeviceGetTemperatureV");
    if (answer->version != (sizeof *answer | 1u << 24)) return ERROR_ARGUMENT_VERSION_MISMATCH;
    return unsigned_number(index_of(device), "temp_c", (unsigned *)&answer->temperature_c);
}

int nvmlDeviceGetTemperature(Device device, int sensor, unsigned *temperature_c) {
    (void)sensor;
    ENTER_GPU("nvmlDeviceGetTemperature");
    return unsigned_number(index_of(device), "temp_c", temperature_c);
}

typedef struct {
    unsigned version;
    int margin_c;
} Margin;

int nvmlDeviceGetMarginTemperature(Device device, Margin *answer) {
    ENTER_GPU("nvmlDeviceGetMarginTemperature");
    if (answer->version != (sizeof *answer | 1u << 24)) return ERROR_ARGUMENT_VERSION_MISMATCH;
    return unsigned_number(index_of(device), "margin_c", (unsigned *)&answer->margin_c);
}

typedef struct {
    unsigned gpu;
    unsigned memory;
} Utilization;

int nvmlDeviceGetUtilizationRates(Device device, Utilization *percent) {
    ENTER_GPU("nvmlDeviceGetUtilizationRates");
    int code = unsigned_number(index_of(device), "util_pct", &percent->gpu);
    return code == SUCCESS ? unsigned_number(index_of(device), "mem_util_pct", &percent->memory) : code;
}

typedef struct {
    unsigned long long total;
    unsigned long long unused;
    unsigned long long used;
} Memory;

int nvmlDeviceGetMemoryInfo(Device device, Memory *bytes) {
    ENTER_GPU("nvmlDeviceGetMemoryInfo");
    long long total, used;
    int code = number(index_of(device), "mem_total_bytes", &total);
    if (code == SUCCESS) code = number(index_of(device), "mem_used_bytes", &used);
    if (code != SUCCESS) return code;
    *bytes = (Memory){(unsigned long long)total, (unsigned long long)(total - used), (unsigned long long)used};
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(Device device, int kind, unsigned *mhz) {
    static const char *keys[] = {"graphics_mhz", "sm_mhz", "mem_mhz", "video_mhz"};
    char function[64];
    snprintf(function, sizeof function, "nvmlDeviceGetClockInfo:%d", kind);
    ENTER_GPU(function);
    if (kind < 0 || kind > 3) return ERROR_INVALID_ARGUMENT;
    return unsigned_number(index_of(device), keys[kind], mhz);
}

int nvmlDeviceGetFanSpeed(Device device, unsigned *percent) {
    ENTER_GPU("nvmlDeviceGetFanSpeed");
    return unsigned_number(index_of(device), "fan_pct", percent);
}

typedef struct {
    unsigned field;
    unsigned scope;
    long long timestamp_us;
    long long latency_us;
    int type;
    int code;
    union {
        double d;
        unsigned u;
        unsigned long long ull;
        long long sll;
        int i;
    } value;
} FieldValue;

enum { VALUE_UNSIGNED_INT = 1, VALUE_SIGNED_INT = 5 };

static void answer_field(int gpu, FieldValue *answer) {
    static const struct {
        unsigned field;
        const char *key;
        int type;
    } known[] = {
        {82, "mem_temp_c", VALUE_UNSIGNED_INT},
        {194, "slowdown_tlimit_c", VALUE_SIGNED_INT},
    };
    char function[64];
    long long value;
    snprintf(function, sizeof function, "nvmlDeviceGetFieldValues:%u", answer->field);
    answer->code = enter(function, gpu);
    if (answer->code != SUCCESS) return;
    answer->code = ERROR_NOT_SUPPORTED;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].field != answer->field || number(gpu, known[i].key, &value) != SUCCESS) continue;
        answer->code = SUCCESS;
        answer->type = known[i].type;
        answer->value.sll = 0;
        answer->value.i = (int)value;
    }
}

int nvmlDeviceGetFieldValues(Device device, int size, FieldValue *values) {
    ENTER_GPU("nvmlDeviceGetFieldValues");
    for (int i = 0; i < size; i++) answer_field(index_of(device), &values[i]);
    return SUCCESS;
}
