/* A plugin of QEMU that counts the blocks which a core executes, in a file that others map into their memory.
 *
 * The file holds 64-bit words: the number of entries, the end of the block before, then for each entry the end of the block before it,
 * its address, its size in bytes, and how often it was executed behind that block. Whoever reads it may set counts and the second word
 * while the core is stopped. Distributions ship QEMU without the header of its plugins, so the few prototypes are repeated here.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*made)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*executed)(unsigned, void *), int flags, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
EXPORT int qemu_plugin_version = PLUGIN_VERSION;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv);

enum { MOST = 1 << 16 };

typedef struct {
    uint64_t before;
    uint64_t address;
    uint64_t size;
    uint64_t count;
} entry;

typedef struct {
    uint64_t entries;
    uint64_t before;
    entry list[MOST];
} table;

/* A translated block with the entries for it, one for each block that was ever before it. */
typedef struct {
    uint64_t address;
    uint64_t size;
    uint32_t known;
    uint32_t room;
    uint32_t *entries;
} block;

static table *shared;

static void executed(unsigned core, void *data)
{
    block *const here = data;
    (void)core;
    for (uint32_t k = 0; k < here->known; k++) {
        entry *const found = &shared->list[here->entries[k]];
        if (found->before == shared->before) {
            found->count++;
            shared->before = here->address + here->size;
            return;
        }
    }
    if (shared->entries == MOST) {
        abort();
    }
    if (here->known == here->room) {
        here->room += 8;
        here->entries = realloc(here->entries, here->room * sizeof *here->entries);
    }
    here->entries[here->known++] = (uint32_t)shared->entries;
    shared->list[shared->entries++] = (entry){ shared->before, here->address, here->size, 1 };
    shared->before = here->address + here->size;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    block *const made = calloc(1, sizeof *made);
    (void)id;
    made->address = qemu_plugin_tb_vaddr(tb);
    for (size_t k = 0; k < qemu_plugin_tb_n_insns(tb); k++) {
        made->size += qemu_plugin_insn_size(qemu_plugin_tb_get_insn(tb, k));
    }
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, made);
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    (void)info;
    if (argc != 1 || strncmp(argv[0], "counts=", 7) != 0) {
        return -1;
    }
    const int file = open(argv[0] + 7, O_RDWR);
    if (file < 0 || ftruncate(file, sizeof(table)) != 0) {
        return -1;
    }
    shared = mmap(NULL, sizeof(table), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (shared == MAP_FAILED) {
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
