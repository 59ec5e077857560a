/* The paragraphs of kvm_explain, from fabricated /proc and /dev trees. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"
#include "vmm/kvm.h"

#define AMD_FLAGS(f)                                                                               \
    "processor : 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu vme svm_lock " f " sse\n"
#define INTEL_FLAGS(f) "vendor_id\t: GenuineIntel\nflags\t\t: fpu vme " f " sse\n"

static char root[64];
static struct err e;

static void put(const char *path, const char *text)
{
    char name[200];
    FILE *f;

    snprintf(name, sizeof name, "%s%s", root, path);
    for (char *s = name + strlen(root) + 1; (s = strchr(s, '/')); *s++ = '/') {
        *s = 0;
        (void)!mkdir(name, 0700);
    }
    f = fopen(name, "w");
    if (f) {
        (void)!fputs(text, f);
        fclose(f);
    }
}

static void drop(const char *path)
{
    char name[200];

    snprintf(name, sizeof name, "%s%s", root, path);
    (void)!unlink(name);
    (void)!rmdir(name);
}

/* The sentence for this tree and errno; the tree is gone afterwards. */
static const char *why(const char *cpuinfo, const char *modules, const char *file,
                       const char *content, int code)
{
    snprintf(root, sizeof root, "/tmp/vmscope-why-XXXXXX");
    if (!mkdtemp(root))
        return "mkdtemp";
    if (cpuinfo)
        put("/proc/cpuinfo", cpuinfo);
    if (modules)
        put("/proc/modules", modules);
    if (file)
        put(file, content);
    memset(&e, 0, sizeof e);
    if (kvm_explain(root, code, &e) != -code || e.code != code)
        return "wrong code";
    if (file)
        drop(file);
    static const char *const paths[] = {"/proc/cpuinfo", "/proc/modules", "/proc/1", "/proc",
                                        "/run/systemd",  "/run",          "/dev",    ""};
    for (unsigned i = 0; i < sizeof paths / sizeof paths[0]; i++)
        drop(paths[i]);
    return e.msg;
}

static void module_missing(void)
{
    CHECK_HAS(why(AMD_FLAGS("svm"), "", NULL, NULL, ENOENT), "sudo modprobe kvm_amd");
    CHECK_HAS(why(INTEL_FLAGS("vmx"), "ext4 1 0 - Live 0x0\n", NULL, NULL, ENOENT),
              "sudo modprobe kvm_intel");
    CHECK_HAS(why(INTEL_FLAGS("vmx"), NULL, "/dev/kvm", "", ENODEV), "kvm_intel");
}

static void node_missing(void)
{
    CHECK_HAS(why(AMD_FLAGS("svm"), "kvm_amd 1 0 - Live 0x0\nkvm 1 1 kvm_amd, Live 0x0\n", NULL,
                  NULL, ENOENT),
              "mknod");
}

static void no_extension(void)
{
    CHECK_HAS(why(AMD_FLAGS(""), "", NULL, NULL, ENOENT), "SVM Mode");
    CHECK_HAS(why(INTEL_FLAGS(""), "", NULL, NULL, ENOENT), "VT-x");
    CHECK_HAS(why(INTEL_FLAGS("hypervisor"), "", NULL, NULL, ENOENT), "nested virtualisation");
    CHECK_HAS(why(NULL, NULL, NULL, NULL, ENOENT), "BIOS");
}

static void containers(void)
{
    CHECK_HAS(why(AMD_FLAGS("svm"), "", "/.dockerenv", "", ENOENT), "--device /dev/kvm");
    CHECK_HAS(why(AMD_FLAGS("svm"), "", "/run/systemd/container", "systemd-nspawn\n", ENOENT),
              "(systemd-nspawn)");
    CHECK_HAS(why(AMD_FLAGS(""), "", "/proc/1/cgroup", "0::/kubepods/x\n", ENOENT), "(kubepods)");
    CHECK_HAS(why(AMD_FLAGS("svm"), "", "/.dockerenv", "", EPERM), "--group-add");
    /* Hostile content reaches the sentence escaped. */
    const char *s = why(AMD_FLAGS("svm"), "", "/run/systemd/container", "x\033[31m\n", ENOENT);
    CHECK(!strchr(s, 27));
}

static void permission(void)
{
    const char *s = why(AMD_FLAGS("svm"), "kvm_amd 1 0 - Live 0x0\n", "/dev/kvm", "", EACCES);

    CHECK_HAS(s, "usermod -aG");
    CHECK_HAS(s, "log in again");
}

static void busy(void)
{
    CHECK_HAS(why(INTEL_FLAGS("vmx"), "vboxdrv 1 0 - Live 0x0\n", NULL, NULL, EBUSY), "VirtualBox");
    CHECK_HAS(why(INTEL_FLAGS("vmx"), "", NULL, NULL, EBUSY), "another hypervisor");
}

static void others(void)
{
    CHECK_HAS(why(AMD_FLAGS("svm"), "", NULL, NULL, EIO), "Input/output error");
    CHECK_HAS(why(AMD_FLAGS("svm"), "", NULL, NULL, ENOMEM), "memory");
    CHECK_HAS(why(AMD_FLAGS("svm"), "", NULL, NULL, EMFILE), "ulimit");
}

/* No paragraph may be cut by the error value's size. */
static void fits(void)
{
    static const int codes[] = {ENOENT, ENXIO, EACCES, EPERM, EBUSY, ENOMEM, EMFILE, EIO};
    static const char *const cpus[] = {AMD_FLAGS("svm"), AMD_FLAGS(""), INTEL_FLAGS("vmx"),
                                       INTEL_FLAGS("hypervisor")};
    static const char *const files[] = {NULL, "/.dockerenv", "/dev/kvm"};

    for (unsigned c = 0; c < sizeof codes / sizeof codes[0]; c++)
        for (unsigned i = 0; i < sizeof cpus / sizeof cpus[0]; i++)
            for (unsigned f = 0; f < sizeof files / sizeof files[0]; f++) {
                const char *s = why(cpus[i], "vboxdrv 1 0 -\n", files[f], "", codes[c]);

                CHECK(strlen(s) > 40);
                CHECK(strlen(s) < sizeof e.msg - 1);
                CHECK(!strchr(s, '\n'));
            }
}

static void version(void)
{
    CHECK_EQ(kvm_explain_version(12, &e), 0);
    CHECK_EQ(kvm_explain_version(11, &e), -ENOTSUP);
    CHECK_HAS(e.msg, "version 11");
    CHECK_EQ(kvm_explain_version(-ENOTTY, &e), -ENOTSUP);
    CHECK_HAS(e.msg, "ls -l /dev/kvm");
}

static void opens_here(void)
{
    struct err f = {0};
    int fd = kvm_open(&f), vm;

    if (fd < 0)
        SKIP("%s", f.msg);
    CHECK(kvm_cap(fd, KVM_CAP_USER_MEMORY) > 0);
    vm = kvm_create_vm(fd);
    CHECK(vm >= 0);
    CHECK_EQ(kvm_run(vm), -ENOTTY);
    close(vm);
    close(fd);
}

static const struct test tests[] = {
    {"module_missing", module_missing},
    {"node_missing", node_missing},
    {"no_extension", no_extension},
    {"containers", containers},
    {"permission", permission},
    {"busy", busy},
    {"others", others},
    {"fits", fits},
    {"version", version},
    {"opens_here", opens_here},
};
TEST_MAIN(tests)
