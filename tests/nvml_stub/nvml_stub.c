/* A libnvidia-ml.so.1 without a GPU: it answers NVML calls from a text file that a test writes.
 *
 * The file is named by NVML_STUB_STATE and read again whenever it has changed. One statement a line;
 * GPU is a number or * for all; where lines disagree, the last one holds.
 *
 *     set GPU KEY VALUE        what a GPU measures or is: set 0 power_mw 612400, set * name NVIDIA H100
 *     error FUNCTION GPU CODE  the nvmlReturn_t that a function answers with (0: works again)
 *     delay FUNCTION GPU MS    how long a function takes
 *     hang FUNCTION GPU        a function returns only when this line is gone
 *     process GPU c|g PID BYTES  a process with a compute (c) or graphics (g) context on a GPU
 *     event GPU ID XID [GI CI] an XID; IDs only grow, and each is delivered once to each event set
 *     log PATH                 append "FUNCTION GPU" to PATH for each call
 *
 * A power limit that is set goes into the file STATE.limit.UUID and holds from then on, in every process.
 *
 * GPUs are numbered as they stand in the machine. NVML's own indices are those of the GPUs that are present
 * (set GPU present 0 unplugs one) at nvmlInit, or at any time with `set -1 live 1`.
 *
 * A MIG instance is GPU.INDEX (set 0.1 uuid MIG-1); it exists while it has a uuid, and `set 0 mig 1` is the mode
 * of its GPU. What is set for * holds for whole GPUs only.
 *
 * The file is looked at in every call, or every NVML_STUB_POLL_MS where that is in the environment: the cost of a
 * call is then that of the call.
 *
 * Keys of the driver itself are set with GPU -1 (count, driver), and so are errors, delays and hangs
 * of functions without a GPU. A call about one of several things carries its number in its name:
 * nvmlDeviceGetClockInfo:1, nvmlDeviceGetFieldValues:82, nvmlDeviceGetTemperatureThreshold:1.
 *
 * To add a function: write ENTER, then read its values with number() or text(). Declarations follow
 * nvml.h (13.5): what the agent calls, and below that what other exporters call besides.
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
    ERROR_NOT_FOUND = 6,
    ERROR_INSUFFICIENT_SIZE = 7,
    ERROR_TIMEOUT = 10,
    ERROR_GPU_IS_LOST = 15,
    ERROR_ARGUMENT_VERSION_MISMATCH = 25,
    ERROR_UNKNOWN = 999,
};
enum { MAX_STATEMENTS = 4096, MAX_GPUS = 64, MAX_MIG = 7, DRIVER = -1, ALL = -2, HANG_POLL_MS = 5, EVENT_POLL_MS = 20 };
enum { FIRST_MIG = 1000, MIG_STRIDE = 10 }; /* GPU.INDEX is FIRST_MIG + GPU * MIG_STRIDE + INDEX */

typedef enum { SET, ERROR, DELAY, HANG, PROCESS, EVENT, VERBS } Verb;
typedef struct {
    Verb verb;
    int gpu;
    unsigned hash;  /* of the name */
    char name[96];  /* of a function or key */
    char value[96];
} Statement;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Statement statements[MAX_STATEMENTS];
static int count;
static int counts[VERBS];
static char log_path[512];
static struct stat seen;
static int initialised;
static int listed[MAX_GPUS]; /* the GPU behind each of NVML's indices */
static int listed_count;

static int is_mig(int gpu) { return gpu >= FIRST_MIG; }
static int parent_of(int mig) { return (mig - FIRST_MIG) / MIG_STRIDE; }

static int parse_gpu(const char *word) {
    int gpu = atoi(word), instance;
    if (strcmp(word, "*") == 0) return ALL;
    return sscanf(word, "%*d.%d", &instance) == 1 ? FIRST_MIG + gpu * MIG_STRIDE + instance : gpu;
}

static unsigned hash_of(const char *name) {
    unsigned hash = 5381;
    while (*name) hash = hash * 33 + (unsigned char)*name++;
    return hash;
}

static void parse(char *line) {
    static const char *verbs[] = {"set", "error", "delay", "hang", "process", "event"};
    char verb[16], a[96], b[96], rest[96] = "";
    if (sscanf(line, "log %511s", log_path) == 1 || count == MAX_STATEMENTS) return;
    if (sscanf(line, "%15s %95s %95s %95[^\n]", verb, a, b, rest) < 3) return;
    for (int i = 0; i < VERBS; i++) {
        if (strcmp(verb, verbs[i]) != 0) continue;
        int about_calls = i == ERROR || i == DELAY || i == HANG;
        Statement *s = &statements[count++];
        counts[i]++;
        s->verb = (Verb)i;
        s->gpu = parse_gpu(about_calls ? b : a);
        strcpy(s->name, about_calls ? a : b);
        s->hash = hash_of(s->name);
        strcpy(s->value, rest);
    }
}

static int unchanged(const struct stat *now) {
    return now->st_ino == seen.st_ino && now->st_size == seen.st_size && now->st_mtim.tv_sec == seen.st_mtim.tv_sec &&
           now->st_mtim.tv_nsec == seen.st_mtim.tv_nsec;
}

static int poll_ms(void) {
    const char *word = getenv("NVML_STUB_POLL_MS");
    return word != NULL ? atoi(word) : 0;
}

static int is_due(void) {
    static _Atomic long long due_ms;
    struct timespec t;
    int every_ms = poll_ms();
    if (every_ms == 0) return 1;
    clock_gettime(CLOCK_MONOTONIC, &t);
    long long now_ms = t.tv_sec * 1000LL + t.tv_nsec / 1000000;
    if (now_ms < due_ms) return 0;
    due_ms = now_ms + every_ms;
    return 1;
}

/* Read the state again if its file has changed. */
static void refresh(void) {
    const char *path = getenv("NVML_STUB_STATE");
    char line[512];
    struct stat now;
    if (!is_due()) return;
    pthread_mutex_lock(&lock);
    FILE *file = path && stat(path, &now) == 0 && !unchanged(&now) ? fopen(path, "r") : NULL;
    if (file != NULL) {
        count = 0;
        memset(counts, 0, sizeof counts);
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
    int all_too = gpu != DRIVER && !(is_mig(gpu) && verb == SET);
    unsigned hash = hash_of(name);
    if (counts[verb] == 0) return 0;
    pthread_mutex_lock(&lock);
    for (int i = count - 1; i >= 0 && !found; i--) {
        const Statement *s = &statements[i];
        if (s->hash != hash || s->verb != verb || strcmp(s->name, name) != 0) continue;
        if (s->gpu != gpu && !(s->gpu == ALL && all_too)) continue;
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

static int flag(int gpu, const char *key, int otherwise) {
    long long value;
    return number(gpu, key, &value) == SUCCESS ? value != 0 : otherwise;
}

/* Give the GPUs that are present NVML's indices, in the order of the machine. */
static void enumerate(void) {
    long long gpus = 0;
    int found = 0;
    number(DRIVER, "count", &gpus);
    for (int gpu = 0; gpu < gpus && gpu < MAX_GPUS; gpu++)
        if (flag(gpu, "present", 1)) listed[found++] = gpu;
    listed_count = found;
}

static void note(const char *function, int gpu) {
    if (!log_path[0]) return;
    pthread_mutex_lock(&lock);
    FILE *file = fopen(log_path, "a");
    if (file != NULL) {
        if (is_mig(gpu))
            fprintf(file, "%s %d.%d\n", function, parent_of(gpu), (gpu - FIRST_MIG) % MIG_STRIDE);
        else
            fprintf(file, "%s %d\n", function, gpu);
        fclose(file);
    }
    pthread_mutex_unlock(&lock);
}

/* What the state says about a call before it answers: time it takes, and its error. */
static int enter(const char *function, int gpu) {
    char word[96];
    refresh();
    note(function, gpu);
    if (find(DELAY, gpu, function, word)) pause_ms(atoll(word));
    while (find(HANG, gpu, function, word)) {
        pause_ms(HANG_POLL_MS);
        refresh();
    }
    if (find(ERROR, gpu, function, word)) return atoi(word);
    if (gpu == DRIVER) return SUCCESS;
    int whole = is_mig(gpu) ? parent_of(gpu) : gpu;
    if (flag(whole, "lost", 0) || !flag(whole, "present", 1)) return ERROR_GPU_IS_LOST;
    return is_mig(gpu) && !find(SET, gpu, "uuid", word) ? ERROR_INVALID_ARGUMENT : SUCCESS;
}

#define ENTER(function, gpu)                        \
    do {                                            \
        int code_ = enter(function, gpu);           \
        if (code_ != SUCCESS) return code_;         \
        if (!initialised) return ERROR_UNINITIALIZED; \
    } while (0)

/* A handle is the number of the GPU or MIG instance plus one, so that none is NULL. */
typedef struct device *Device;
static int index_of(Device device) { return (int)(intptr_t)device - 1; }
#define ENTER_GPU(function) ENTER(function, index_of(device))

/* -- the library -- */

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    int code = enter("nvmlInitWithFlags", DRIVER);
    if (code != SUCCESS) return code;
    if (initialised++ == 0) enumerate();
    return SUCCESS;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

/* For the next test in the same process: as if NVML had never been started. */
void nvml_stub_reset(void) { initialised = 0; }

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
    if (flag(DRIVER, "live", 0)) enumerate();
    *devices = (unsigned)listed_count;
    return SUCCESS;
}

static int give(int gpu, Device *device) {
    *device = (Device)(intptr_t)(gpu + 1);
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *device) {
    int gpu = index < (unsigned)listed_count ? listed[index] : (int)index;
    ENTER("nvmlDeviceGetHandleByIndex", gpu);
    return index < (unsigned)listed_count ? give(gpu, device) : ERROR_INVALID_ARGUMENT;
}

static int give_by_text(const char *function, const char *key, const char *wanted, Device *device) {
    char word[96];
    for (int i = 0; i < listed_count; i++) {
        if (text(listed[i], key, word, sizeof word) != SUCCESS || strcmp(word, wanted) != 0) continue;
        ENTER(function, listed[i]);
        return give(listed[i], device);
    }
    ENTER(function, DRIVER);
    return ERROR_NOT_FOUND;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Device *device) {
    return give_by_text("nvmlDeviceGetHandleByUUID", "uuid", uuid, device);
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, Device *device) {
    return give_by_text("nvmlDeviceGetHandleByPciBusId", "bus", bus, device);
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

/* The limit that the state says, or that was set since; see nvmlDeviceSetPowerManagementLimit. */
static int power_limit(int gpu, unsigned *limit_mw) {
    char path[600], word[96];
    const char *state = getenv("NVML_STUB_STATE");
    int code = unsigned_number(gpu, "power_limit_mw", limit_mw);
    if (code != SUCCESS || state == NULL || !find(SET, gpu, "uuid", word)) return code;
    snprintf(path, sizeof path, "%s.limit.%s", state, word);
    FILE *file = fopen(path, "r");
    if (file == NULL) return code;
    if (fscanf(file, "%u", limit_mw) != 1) code = ERROR_UNKNOWN;
    fclose(file);
    return code;
}

int nvmlDeviceGetEnforcedPowerLimit(Device device, unsigned *limit_mw) {
    ENTER_GPU("nvmlDeviceGetEnforcedPowerLimit");
    return power_limit(index_of(device), limit_mw);
}

int nvmlDeviceGetTemperatureThreshold(Device device, int kind, unsigned *threshold_c) {
    static const char *keys[] = {"shutdown_c", "slowdown_c", "mem_max_c", "gpu_max_c"};
    char function[64];
    snprintf(function, sizeof function, "nvmlDeviceGetTemperatureThreshold:%d", kind);
    ENTER_GPU(function);
    if (kind < 0 || kind > 3) return ERROR_NOT_SUPPORTED;
    return unsigned_number(index_of(device), keys[kind], threshold_c);
}

typedef struct {
    char legacy[16];
    unsigned domain;
    unsigned bus;
    unsigned slot;
    unsigned id;
    unsigned subsystem;
    char address[32];
} Pci;

int nvmlDeviceGetPciInfo_v3(Device device, Pci *pci) {
    ENTER_GPU("nvmlDeviceGetPciInfo");
    char word[96];
    int code = text(index_of(device), "bus", word, sizeof word);
    if (code != SUCCESS) return code;
    memset(pci, 0, sizeof *pci);
    snprintf(pci->address, sizeof pci->address, "%.31s", word);
    sscanf(word, "%x:%x:%x", &pci->domain, &pci->bus, &pci->slot);
    snprintf(pci->legacy, sizeof pci->legacy, "%04x:%02x:%02x.0", pci->domain & 0xffff, pci->bus & 0xff,
             pci->slot & 0xff);
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(Device device, int *major, int *minor) {
    ENTER_GPU("nvmlDeviceGetCudaComputeCapability");
    unsigned value; /* 90 for 9.0 */
    int code = unsigned_number(index_of(device), "compute_capability", &value);
    if (code != SUCCESS) return code;
    *major = (int)value / 10;
    *minor = (int)value % 10;
    return SUCCESS;
}

/* A function that answers with one number of the state. */
#define GETTER(symbol, function, type, key)                                \
    int symbol(Device device, type *value) {                               \
        ENTER_GPU(function);                                               \
        long long wide;                                                    \
        int code = number(index_of(device), key, &wide);                   \
        if (code == SUCCESS) *value = (type)wide;                          \
        return code;                                                       \
    }

GETTER(nvmlDeviceGetSupportedClocksEventReasons, "nvmlDeviceGetSupportedClocksEventReasons", unsigned long long,
       "supported_reasons")
GETTER(nvmlDeviceGetSupportedEventTypes, "nvmlDeviceGetSupportedEventTypes", unsigned long long, "event_types")

/* -- MIG -- */

int nvmlDeviceGetMigMode(Device device, unsigned *current, unsigned *pending) {
    ENTER_GPU("nvmlDeviceGetMigMode");
    int code = unsigned_number(index_of(device), "mig", current);
    *pending = *current;
    return code;
}

int nvmlDeviceGetMaxMigDeviceCount(Device device, unsigned *most) {
    ENTER_GPU("nvmlDeviceGetMaxMigDeviceCount");
    *most = flag(index_of(device), "mig", 0) ? MAX_MIG : 0;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(Device device, unsigned index, Device *instance) {
    char word[96];
    int mig = FIRST_MIG + index_of(device) * MIG_STRIDE + (int)index;
    ENTER_GPU("nvmlDeviceGetMigDeviceHandleByIndex");
    if (index >= MAX_MIG) return ERROR_INVALID_ARGUMENT;
    return find(SET, mig, "uuid", word) ? give(mig, instance) : ERROR_NOT_FOUND;
}

GETTER(nvmlDeviceGetGpuInstanceId, "nvmlDeviceGetGpuInstanceId", unsigned, "gi")
GETTER(nvmlDeviceGetComputeInstanceId, "nvmlDeviceGetComputeInstanceId", unsigned, "ci")

int nvmlDeviceIsMigDeviceHandle(Device device, unsigned *answer) {
    ENTER_GPU("nvmlDeviceIsMigDeviceHandle");
    *answer = (unsigned)is_mig(index_of(device));
    return SUCCESS;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device instance, Device *device) {
    ENTER("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", index_of(instance));
    return is_mig(index_of(instance)) ? give(parent_of(index_of(instance)), device) : ERROR_INVALID_ARGUMENT;
}

/* -- processes -- */

enum { NO_INSTANCE = -1 };
typedef struct {
    unsigned pid;
    unsigned long long used_bytes;
    unsigned gpu_instance;
    unsigned compute_instance;
} Process;

static unsigned instance_id(int gpu, const char *key) {
    unsigned id = (unsigned)NO_INSTANCE;
    if (is_mig(gpu)) unsigned_number(gpu, key, &id);
    return id;
}

/* A whole GPU has the processes of its MIG instances too. `processes` is NULL when only the count is wanted. */
static int answer_processes(int gpu, const char *kind, unsigned *size, Process *processes) {
    static int owners[MAX_STATEMENTS];
    static Process found[MAX_STATEMENTS];
    static pthread_mutex_t use = PTHREAD_MUTEX_INITIALIZER;
    unsigned n = 0;
    pthread_mutex_lock(&use);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count; i++) {
        const Statement *s = &statements[i];
        if (s->verb != PROCESS || strcmp(s->name, kind) != 0) continue;
        if (s->gpu != gpu && !(is_mig(s->gpu) && parent_of(s->gpu) == gpu)) continue;
        owners[n] = s->gpu;
        sscanf(s->value, "%u %llu", &found[n].pid, &found[n].used_bytes);
        n++;
    }
    pthread_mutex_unlock(&lock);
    int code = n > 0 && (processes == NULL || *size < n) ? ERROR_INSUFFICIENT_SIZE : SUCCESS;
    for (unsigned i = 0; code == SUCCESS && i < n; i++) {
        processes[i] = found[i];
        processes[i].gpu_instance = instance_id(owners[i], "gi");
        processes[i].compute_instance = instance_id(owners[i], "ci");
    }
    *size = n;
    pthread_mutex_unlock(&use);
    return code;
}

#define PROCESSES(symbol, function, kind)                                      \
    int symbol(Device device, unsigned *size, Process *processes) {            \
        ENTER_GPU(function);                                                   \
        return answer_processes(index_of(device), kind, size, processes);      \
    }

PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3, "nvmlDeviceGetComputeRunningProcesses", "c")
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2, "nvmlDeviceGetComputeRunningProcesses", "c")
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3, "nvmlDeviceGetGraphicsRunningProcesses", "g")
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2, "nvmlDeviceGetGraphicsRunningProcesses", "g")
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3, "nvmlDeviceGetMPSComputeRunningProcesses", "m")

/* -- events -- */

enum { EVENT_XID = 8 };
typedef struct events {
    long long last[MAX_GPUS]; /* the ID delivered last for each GPU; -1: not registered */
} *Events;
typedef struct {
    Device device;
    unsigned long long type;
    unsigned long long data;
    unsigned gpu_instance;
    unsigned compute_instance;
} EventData;

int nvmlEventSetCreate(Events *events) {
    ENTER("nvmlEventSetCreate", DRIVER);
    *events = malloc(sizeof **events);
    for (int gpu = 0; gpu < MAX_GPUS; gpu++) (*events)->last[gpu] = -1;
    return SUCCESS;
}

int nvmlEventSetFree(Events events) {
    ENTER("nvmlEventSetFree", DRIVER);
    free(events);
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(Device device, unsigned long long types, Events events) {
    ENTER_GPU("nvmlDeviceRegisterEvents");
    int gpu = index_of(device);
    unsigned supported = EVENT_XID;
    unsigned_number(gpu, "event_types", &supported);
    if (is_mig(gpu) || (types & ~(unsigned long long)supported) != 0) return ERROR_NOT_SUPPORTED;
    pthread_mutex_lock(&lock);
    events->last[gpu] = 0;
    for (int i = 0; i < count; i++) /* what happened before is not recorded */
        if (statements[i].verb == EVENT && statements[i].gpu == gpu) events->last[gpu] = atoll(statements[i].name);
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

static int next_event(Events events, EventData *data) {
    int found = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count && !found; i++) {
        const Statement *s = &statements[i];
        if (s->verb != EVENT || events->last[s->gpu] < 0 || atoll(s->name) <= events->last[s->gpu]) continue;
        unsigned xid = 0, gi = (unsigned)NO_INSTANCE, ci = (unsigned)NO_INSTANCE;
        sscanf(s->value, "%u %u %u", &xid, &gi, &ci);
        events->last[s->gpu] = atoll(s->name);
        *data = (EventData){(Device)(intptr_t)(s->gpu + 1), EVENT_XID, xid, gi, ci};
        found = 1;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

int nvmlEventSetWait_v2(Events events, EventData *data, unsigned timeout_ms) {
    ENTER("nvmlEventSetWait", DRIVER);
    int pause = poll_ms() > EVENT_POLL_MS ? poll_ms() : EVENT_POLL_MS;
    unsigned most_ms = timeout_ms; /* a real driver may return early too */
    unsigned_number(DRIVER, "wait_ms", &most_ms);
    for (int left_ms = (int)(most_ms < timeout_ms ? most_ms : timeout_ms);; left_ms -= pause) {
        if (next_event(events, data)) return SUCCESS;
        for (int gpu = 0; gpu < MAX_GPUS; gpu++)
            if (events->last[gpu] >= 0 && (flag(gpu, "lost", 0) || !flag(gpu, "present", 1))) return ERROR_GPU_IS_LOST;
        if (left_ms <= 0) return ERROR_TIMEOUT;
        pause_ms(pause);
        refresh();
    }
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

GETTER(nvmlDeviceGetFanSpeed, "nvmlDeviceGetFanSpeed", unsigned, "fan_pct")
GETTER(nvmlDeviceGetPerformanceState, "nvmlDeviceGetPerformanceState", int, "perf_state")
GETTER(nvmlDeviceGetCurrentClocksEventReasons, "nvmlDeviceGetCurrentClocksEventReasons", unsigned long long, "reasons")
GETTER(nvmlDeviceGetCurrentClocksThrottleReasons, "nvmlDeviceGetCurrentClocksThrottleReasons", unsigned long long,
       "reasons")

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

enum { VALUE_UNSIGNED_INT = 1, VALUE_UNSIGNED_LONG_LONG = 3, VALUE_SIGNED_INT = 5 };

static void answer_field(int gpu, FieldValue *answer) {
    static const struct {
        unsigned field;
        const char *key;
        int type;
    } known[] = {
        {3, "ecc_corrected", VALUE_UNSIGNED_LONG_LONG},
        {4, "ecc_uncorrected", VALUE_UNSIGNED_LONG_LONG},
        {82, "mem_temp_c", VALUE_UNSIGNED_INT},
        {83, "energy_mj", VALUE_UNSIGNED_LONG_LONG},
        {185, "power_mw", VALUE_UNSIGNED_INT},
        {186, "power_instant_mw", VALUE_UNSIGNED_INT},
        {193, "shutdown_tlimit_c", VALUE_SIGNED_INT},
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
        if (known[i].type == VALUE_UNSIGNED_LONG_LONG)
            answer->value.ull = (unsigned long long)value;
        else
            answer->value.i = (int)value;
    }
}

int nvmlDeviceGetFieldValues(Device device, int size, FieldValue *values) {
    ENTER_GPU("nvmlDeviceGetFieldValues");
    for (int i = 0; i < size; i++) answer_field(index_of(device), &values[i]);
    return SUCCESS;
}

int nvmlDeviceGetTotalEccErrors(Device device, int kind, int counter, unsigned long long *errors) {
    (void)counter;
    ENTER_GPU("nvmlDeviceGetTotalEccErrors");
    long long value;
    int code = number(index_of(device), kind == 0 ? "ecc_corrected" : "ecc_uncorrected", &value);
    if (code == SUCCESS) *errors = (unsigned long long)value;
    return code;
}

/* -- what other exporters ask besides -- */

int nvmlDeviceGetIndex(Device device, unsigned *index) {
    ENTER_GPU("nvmlDeviceGetIndex");
    for (int i = 0; i < listed_count; i++) {
        if (listed[i] != index_of(device)) continue;
        *index = (unsigned)i;
        return SUCCESS;
    }
    return ERROR_NOT_FOUND;
}

int nvmlDeviceGetMinorNumber(Device device, unsigned *minor) {
    ENTER_GPU("nvmlDeviceGetMinorNumber");
    *minor = (unsigned)index_of(device);
    return SUCCESS;
}

int nvmlSystemGetNVMLVersion(char *version, unsigned length) {
    ENTER("nvmlSystemGetNVMLVersion", DRIVER);
    return text(DRIVER, "nvml", version, length);
}

static int cuda_version(int *version) {
    ENTER("nvmlSystemGetCudaDriverVersion", DRIVER);
    return unsigned_number(DRIVER, "cuda", (unsigned *)version);
}
int nvmlSystemGetCudaDriverVersion(int *version) { return cuda_version(version); }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { return cuda_version(version); }

int nvmlSystemGetProcessName(unsigned pid, char *name, unsigned length) {
    ENTER("nvmlSystemGetProcessName", DRIVER);
    snprintf(name, length, "process-%u", pid);
    return SUCCESS;
}

int nvmlDeviceGetMaxClockInfo(Device device, int kind, unsigned *mhz) {
    static const char *keys[] = {"max_graphics_mhz", "max_sm_mhz", "max_mem_mhz", "max_video_mhz"};
    ENTER_GPU("nvmlDeviceGetMaxClockInfo");
    if (kind < 0 || kind > 3) return ERROR_INVALID_ARGUMENT;
    return unsigned_number(index_of(device), keys[kind], mhz);
}

int nvmlDeviceGetPowerManagementLimitConstraints(Device device, unsigned *least_mw, unsigned *most_mw) {
    ENTER_GPU("nvmlDeviceGetPowerManagementLimitConstraints");
    int code = unsigned_number(index_of(device), "least_power_limit_mw", least_mw);
    if (code == SUCCESS) code = unsigned_number(index_of(device), "default_power_limit_mw", most_mw);
    if (code == SUCCESS) unsigned_number(index_of(device), "most_power_limit_mw", most_mw);
    return code;
}

int nvmlDeviceGetFanSpeed_v2(Device device, unsigned fan, unsigned *percent) {
    (void)fan;
    ENTER_GPU("nvmlDeviceGetFanSpeed");
    return unsigned_number(index_of(device), "fan_pct", percent);
}

static int sampled(int gpu, const char *key, unsigned *percent, unsigned *period_us) {
    *period_us = 167000;
    return unsigned_number(gpu, key, percent);
}
int nvmlDeviceGetEncoderUtilization(Device device, unsigned *percent, unsigned *period_us) {
    ENTER_GPU("nvmlDeviceGetEncoderUtilization");
    return sampled(index_of(device), "encoder_pct", percent, period_us);
}
int nvmlDeviceGetDecoderUtilization(Device device, unsigned *percent, unsigned *period_us) {
    ENTER_GPU("nvmlDeviceGetDecoderUtilization");
    return sampled(index_of(device), "decoder_pct", percent, period_us);
}

int nvmlDeviceGetPcieThroughput(Device device, int counter, unsigned *kib_per_s) {
    (void)counter;
    ENTER_GPU("nvmlDeviceGetPcieThroughput");
    return unsigned_number(index_of(device), "pcie_kib_per_s", kib_per_s);
}

typedef struct {
    unsigned version;
    unsigned long long total;
    unsigned long long reserved;
    unsigned long long unused;
    unsigned long long used;
} MemoryV2;

int nvmlDeviceGetMemoryInfo_v2(Device device, MemoryV2 *bytes) {
    ENTER_GPU("nvmlDeviceGetMemoryInfo");
    long long total, used;
    if (bytes->version != (sizeof *bytes | 2u << 24)) return ERROR_ARGUMENT_VERSION_MISMATCH;
    int code = number(index_of(device), "mem_total_bytes", &total);
    if (code == SUCCESS) code = number(index_of(device), "mem_used_bytes", &used);
    if (code != SUCCESS) return code;
    bytes->total = (unsigned long long)total;
    bytes->used = (unsigned long long)used;
    bytes->unused = bytes->total - bytes->used;
    bytes->reserved = 0;
    return SUCCESS;
}

int nvmlDeviceGetBAR1MemoryInfo(Device device, Memory *bytes) {
    ENTER_GPU("nvmlDeviceGetBAR1MemoryInfo");
    long long total;
    int code = number(index_of(device), "bar1_bytes", &total);
    if (code == SUCCESS) *bytes = (Memory){(unsigned long long)total, (unsigned long long)total, 0};
    return code;
}

int nvmlDeviceGetEccMode(Device device, unsigned *current, unsigned *pending) {
    ENTER_GPU("nvmlDeviceGetEccMode");
    int code = unsigned_number(index_of(device), "ecc", current);
    *pending = *current;
    return code;
}

int nvmlDeviceGetMemoryErrorCounter(Device device, int kind, int counter, int place, unsigned long long *errors) {
    (void)place;
    return nvmlDeviceGetTotalEccErrors(device, kind, counter, errors);
}

int nvmlDeviceGetSerial(Device device, char *serial, unsigned length) {
    ENTER_GPU("nvmlDeviceGetSerial");
    return text(index_of(device), "serial", serial, length);
}

int nvmlDeviceGetVbiosVersion(Device device, char *version, unsigned length) {
    ENTER_GPU("nvmlDeviceGetVbiosVersion");
    return text(index_of(device), "vbios", version, length);
}

/* No samples: what a driver says when nothing ran since `since`. */
int nvmlDeviceGetProcessUtilization(Device device, void *samples, unsigned *size, unsigned long long since) {
    (void)samples, (void)since;
    ENTER_GPU("nvmlDeviceGetProcessUtilization");
    *size = 0;
    return ERROR_NOT_FOUND;
}

int nvmlDeviceGetPowerManagementLimit(Device device, unsigned *limit_mw) {
    ENTER_GPU("nvmlDeviceGetPowerManagementLimit");
    return power_limit(index_of(device), limit_mw);
}

/* Kept in a file beside the state, as a GPU keeps it when processes come and go: STATE.limit.UUID. */
int nvmlDeviceSetPowerManagementLimit(Device device, unsigned limit_mw) {
    char path[600], fresh[620], uuid[96], bounds[96];
    const char *state = getenv("NVML_STUB_STATE");
    int gpu = index_of(device);
    unsigned least_mw = 0, most_mw = 0;
    ENTER_GPU("nvmlDeviceSetPowerManagementLimit");
    if (is_mig(gpu) || state == NULL || !find(SET, gpu, "least_power_limit_mw", bounds)) return ERROR_NOT_SUPPORTED;
    unsigned_number(gpu, "least_power_limit_mw", &least_mw);
    unsigned_number(gpu, "default_power_limit_mw", &most_mw);
    unsigned_number(gpu, "most_power_limit_mw", &most_mw);
    if (limit_mw < least_mw || limit_mw > most_mw) return ERROR_INVALID_ARGUMENT;
    if (!find(SET, gpu, "uuid", uuid)) return ERROR_NOT_SUPPORTED;
    snprintf(path, sizeof path, "%s.limit.%s", state, uuid);
    snprintf(fresh, sizeof fresh, "%s.new", path);
    FILE *file = fopen(fresh, "w");
    if (file == NULL) return ERROR_UNKNOWN;
    fprintf(file, "%u\n", limit_mw);
    fclose(file);
    return rename(fresh, path) == 0 ? SUCCESS : ERROR_UNKNOWN;
}

GETTER(nvmlDeviceGetPowerManagementDefaultLimit, "nvmlDeviceGetPowerManagementDefaultLimit", unsigned,
       "default_power_limit_mw")
GETTER(nvmlDeviceGetPowerManagementMode, "nvmlDeviceGetPowerManagementMode", int, "power_management")
GETTER(nvmlDeviceGetPowerState, "nvmlDeviceGetPowerState", int, "perf_state")
GETTER(nvmlDeviceGetPersistenceMode, "nvmlDeviceGetPersistenceMode", int, "persistence")
GETTER(nvmlDeviceGetComputeMode, "nvmlDeviceGetComputeMode", int, "compute_mode")
GETTER(nvmlDeviceGetDisplayMode, "nvmlDeviceGetDisplayMode", int, "display")
GETTER(nvmlDeviceGetDisplayActive, "nvmlDeviceGetDisplayActive", int, "display")
GETTER(nvmlDeviceGetCurrPcieLinkGeneration, "nvmlDeviceGetCurrPcieLinkGeneration", unsigned, "pcie_generation")
GETTER(nvmlDeviceGetMaxPcieLinkGeneration, "nvmlDeviceGetMaxPcieLinkGeneration", unsigned, "pcie_generation")
GETTER(nvmlDeviceGetCurrPcieLinkWidth, "nvmlDeviceGetCurrPcieLinkWidth", unsigned, "pcie_width")
GETTER(nvmlDeviceGetMaxPcieLinkWidth, "nvmlDeviceGetMaxPcieLinkWidth", unsigned, "pcie_width")
GETTER(nvmlDeviceGetPcieReplayCounter, "nvmlDeviceGetPcieReplayCounter", unsigned, "pcie_replays")
GETTER(nvmlDeviceGetNumFans, "nvmlDeviceGetNumFans", unsigned, "fans")
GETTER(nvmlDeviceGetBrand, "nvmlDeviceGetBrand", int, "brand")
GETTER(nvmlDeviceGetArchitecture, "nvmlDeviceGetArchitecture", unsigned, "architecture")
GETTER(nvmlDeviceGetNumGpuCores, "nvmlDeviceGetNumGpuCores", unsigned, "cores")
GETTER(nvmlDeviceGetMemoryBusWidth, "nvmlDeviceGetMemoryBusWidth", unsigned, "mem_bus_bits")
GETTER(nvmlDeviceGetBoardId, "nvmlDeviceGetBoardId", unsigned, "board")

/* -- for the test that compares the layout with the real binding's -- */

#define SIZE(name, type) \
    unsigned long nvml_stub_size_##name(void) { return sizeof(type); }

SIZE(pci, Pci)
SIZE(temperature, Temperature)
SIZE(margin, Margin)
SIZE(utilization, Utilization)
SIZE(memory, Memory)
SIZE(memory_v2, MemoryV2)
SIZE(process, Process)
SIZE(field_value, FieldValue)
SIZE(event_data, EventData)
