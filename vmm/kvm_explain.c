/*
 * Why /dev/kvm cannot be used, in one paragraph: reads what Linux tells about processor, modules
 * and containers and names the one likely cause with the command that cures it. Called on the way
 * out by kvm_open and by whoever fails to create a VM; any thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/buf.h"
#include "vmm/base/esc.h"
#include "vmm/kvm.h"

struct host {
    bool svm, vmx, amd;
    bool in_vm;         /* the CPU flag "hypervisor" */
    bool node;          /* /dev/kvm exists */
    gid_t gid;          /* its group */
    unsigned mode;      /* its permission bits */
    bool module;        /* kvm_amd, kvm_intel or another user of kvm is loaded */
    const char *rival;  /* another hypervisor's module that is loaded */
    char container[24]; /* "docker"; empty outside */
};

static const char *const rivals[][2] = {
    {"vboxdrv", "VirtualBox"}, {"vmmon", "VMware"}, {"xen_evtchn", "Xen"}, {"acrn", "ACRN"}};

/* Bounded: /proc/cpuinfo repeats itself for every processor, its head is enough. */
static bool slurp(const char *root, const char *path, struct buf *out)
{
    char name[PATH_MAX], chunk[4096];
    int n = snprintf(name, sizeof name, "%s%s", root, path), fd;
    ssize_t got;

    buf_clear(out);
    if (n < 0 || (size_t)n >= sizeof name)
        return false;
    fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    while (out->len < 65536 && (got = read(fd, chunk, sizeof chunk)) > 0)
        buf_add(out, chunk, (size_t)got);
    close(fd);
    return true;
}

static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);

    for (const char *p = text; (p = strstr(p, word)); p += len) {
        bool starts = p == text || strchr(" \t\n:", p[-1]);

        if (starts && (!p[len] || strchr(" \t\n", p[len])))
            return true;
    }
    return false;
}

/* A line of /proc/modules starts with the module's name. */
static bool has_module(const char *modules, const char *name)
{
    size_t len = strlen(name);

    for (const char *p = modules; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : p)
        if (!strncmp(p, name, len) && p[len] == ' ')
            return true;
    return false;
}

static void find_container(const char *root, struct host *h)
{
    static const char *const kinds[] = {"docker", "libpod", "kubepods", "lxc", "containerd"};
    struct buf b = {0};

    if (slurp(root, "/.dockerenv", &b))
        snprintf(h->container, sizeof h->container, "docker");
    else if (slurp(root, "/run/.containerenv", &b))
        snprintf(h->container, sizeof h->container, "podman");
    else if (slurp(root, "/run/systemd/container", &b) && b.len)
        esc_cut(h->container, sizeof h->container, b.data, strcspn(b.data, "\n"));
    else if (slurp(root, "/proc/1/cgroup", &b))
        for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
            if (strstr(buf_str(&b), kinds[i])) {
                snprintf(h->container, sizeof h->container, "%s", kinds[i]);
                break;
            }
    buf_fini(&b);
}

static void find_host(const char *root, struct host *h)
{
    char name[PATH_MAX];
    struct buf b = {0};
    struct stat st;

    memset(h, 0, sizeof *h);
    if (slurp(root, "/proc/cpuinfo", &b)) {
        h->svm = has_word(b.data ? b.data : "", "svm");
        h->vmx = has_word(b.data ? b.data : "", "vmx");
        h->in_vm = has_word(buf_str(&b), "hypervisor");
        h->amd = has_word(buf_str(&b), "AuthenticAMD") || has_word(buf_str(&b), "HygonGenuine");
    }
    if (slurp(root, "/proc/modules", &b)) {
        h->module = has_module(buf_str(&b), "kvm_amd") || has_module(buf_str(&b), "kvm_intel") ||
                    has_module(buf_str(&b), "kvm_pvm");
        for (size_t i = 0; i < sizeof rivals / sizeof rivals[0]; i++)
            if (has_module(buf_str(&b), rivals[i][0]))
                h->rival = rivals[i][1];
    }
    if (snprintf(name, sizeof name, "%s/dev/kvm", root) < (int)sizeof name && !stat(name, &st)) {
        h->node = true;
        h->gid = st.st_gid;
        h->mode = st.st_mode & 0777;
    }
    find_container(root, h);
    buf_fini(&b);
}

static int no_device(const struct host *h, int code, struct err *e)
{
    const char *module = h->svm || (h->amd && !h->vmx) ? "kvm_amd" : "kvm_intel";
    const char *cpu = h->svm || h->amd ? "SVM" : "VT-x";

    if (h->container[0])
        return err_set(
            e, code,
            "there is no usable /dev/kvm in this container (%s). The machine around it may "
            "well have one: start the container again with the device passed in, "
            "`docker run --device /dev/kvm …` (podman takes the same option), "
            "`systemd-nspawn --bind=/dev/kvm --property=DeviceAllow='/dev/kvm rw'`, or in "
            "Kubernetes a device plug-in for kvm",
            h->container);
    if (h->module && !h->node)
        return err_set(e, code,
                       "the kernel's KVM module is loaded but /dev/kvm is missing, so udev has not "
                       "made it: type `sudo mknod -m 660 /dev/kvm c 10 232 && sudo chgrp kvm "
                       "/dev/kvm`, or restart udev with `sudo udevadm trigger`");
    if (!h->svm && !h->vmx && h->in_vm)
        return err_set(
            e, code,
            "there is no /dev/kvm: this is itself a virtual machine and its processor "
            "shows neither svm nor vmx. Switch nested virtualisation on in the outer "
            "host: with QEMU `-cpu host` and `modprobe kvm_intel nested=1` (or kvm_amd), "
            "with VirtualBox `VBoxManage modifyvm NAME --nested-hw-virt on`, at a cloud "
            "provider a machine type that offers nested virtualisation");
    if (!h->svm && !h->vmx)
        return err_set(
            e, code,
            "there is no /dev/kvm: /proc/cpuinfo lists neither svm (AMD) nor vmx (Intel), "
            "so the firmware has hardware virtualisation switched off or the processor "
            "lacks it. Look in the BIOS set-up for \"%s\", switch it on and power the "
            "machine off once",
            h->amd ? "SVM Mode" : "Intel Virtualization Technology (VT-x)");
    return err_set(e, code,
                   "there is no working /dev/kvm: the processor has %s but the kernel's module is "
                   "not loaded. Type `sudo modprobe %s`; when that answers \"Operation not "
                   "supported\" the firmware has %s disabled: enable it in the BIOS set-up "
                   "(`sudo dmesg | grep -i kvm` says so)",
                   cpu, module, cpu);
}

static int no_permission(const struct host *h, int code, struct err *e)
{
    char group[64] = "kvm", text[1024];
    struct group gr, *found = NULL;

    if (h->node && !getgrgid_r(h->gid, &gr, text, sizeof text, &found) && found)
        snprintf(group, sizeof group, "%s", gr.gr_name);
    if (h->container[0])
        return err_set(
            e, code,
            "/dev/kvm is in this container (%s) but may not be opened: give the container "
            "the device and its group, `docker run --device /dev/kvm --group-add $(stat "
            "-c %%g /dev/kvm) …` (typed on the machine around it), or bind it with "
            "DeviceAllow='/dev/kvm rw'",
            h->container);
    if (h->node && (h->mode & 060) == 060 && h->gid)
        return err_set(
            e, code,
            "no permission to open /dev/kvm: it belongs to the group %s and your user is "
            "not in it. Type `sudo usermod -aG %s $USER` and log in again (in this shell "
            "alone: `newgrp %s`)",
            group, group, group);
    return err_set(
        e, code,
        "no permission to open /dev/kvm: its mode is %03o and its group %s, so only root "
        "gets in. Type `sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm && sudo "
        "usermod -aG kvm $USER` and log in again",
        h->mode, group);
}

int kvm_explain(const char *root, int code, struct err *e)
{
    struct host h;

    find_host(root, &h);
    switch (code) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
        return no_device(&h, code, e);
    case EACCES:
    case EPERM:
        return no_permission(&h, code, e);
    case EBUSY:
        return err_set(e, code,
                       "KVM cannot start a machine because %s already holds the processor's "
                       "virtualisation extension. Stop its machines%s and try again",
                       h.rival ? h.rival : "another hypervisor (VirtualBox, VMware, Xen)",
                       h.rival && !strcmp(h.rival, "VirtualBox")
                           ? " (or unload it with `sudo rmmod vboxnetadp vboxnetflt vboxdrv`)"
                           : "");
    case ENOMEM:
        return err_set(e, code,
                       "KVM cannot start a machine: the kernel is out of memory. Close "
                       "something large, or give the guest less with -m");
    case EMFILE:
    case ENFILE:
        return err_set(e, code,
                       "cannot open /dev/kvm: too many open files. Raise the limit with "
                       "`ulimit -n 4096` and try again");
    default:
        return err_set(e, code,
                       "KVM cannot be used: opening /dev/kvm or creating a machine failed "
                       "with \"%s\". `sudo dmesg | tail` may say why",
                       strerror(code));
    }
}

int kvm_explain_version(int version, struct err *e)
{
    if (version == KVM_API_VERSION)
        return 0;
    if (version < 0)
        return err_set(e, ENOTSUP,
                       "/dev/kvm does not answer as KVM does (%s): something else sits behind this "
                       "device file. `ls -l /dev/kvm` should show the numbers 10, 232",
                       strerror(-version));
    return err_set(e, ENOTSUP,
                   "the kernel's KVM speaks version %d of its interface and vmscope needs version "
                   "%d, which every Linux since 2.6.22 has: boot another kernel",
                   version, KVM_API_VERSION);
}
