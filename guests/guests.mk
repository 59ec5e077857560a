# Guests: freestanding programs for the machine. `make guests` puts them in $(O)/guests: NAME is an
# ELF with debug info, NAME.bin a real-mode image (its symbols in NAME.elf).

G := $(O)/guests

GUEST_16 := guests/hello16.S guests/modes.S
GUEST_32 := guests/hello32.c
GUEST_64_PLAIN := guests/hello64.c
GUEST_64 := $(sort $(filter-out $(GUEST_32) $(GUEST_64_PLAIN) %_user.c,$(wildcard guests/*.c)))

GUEST_CFLAGS := -std=gnu11 -I. -O1 -g -ffreestanding -mgeneral-regs-only -fno-pic -fno-pie \
	-fno-stack-protector -fcf-protection=none -fno-omit-frame-pointer -fno-optimize-sibling-calls \
	-fno-asynchronous-unwind-tables -fno-builtin -fno-strict-aliasing \
	-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla -Werror \
	-MMD -MP -U_FORTIFY_SOURCE
GUEST_LDFLAGS := -nostdlib -static -Wl,--build-id=none -Wl,-z,noexecstack \
	-Wl,-z,max-page-size=0x1000 -Wl,--fatal-warnings
GUEST_M32 := -m32 -march=i686
GUEST_M64 := -m64 -mno-red-zone

GUEST_LIB_32 := $(patsubst %,$(G)/obj/32/guests/lib/%.o,crt0_32 guest bytes)
GUEST_LIB_64 := $(patsubst %,$(G)/obj/64/guests/lib/%.o,guest bytes trap_entry trap)

GUEST_IMAGES := $(GUEST_16:guests/%.S=$(G)/%.bin) \
	$(patsubst guests/%.c,$(G)/%,$(GUEST_32) $(GUEST_64_PLAIN) $(GUEST_64))
TINYOS_SRC := $(sort $(wildcard guests/tinyos/*.c guests/tinyos/*.S)) \
	guests/lib/trap_entry.S guests/lib/bytes.c
GUEST_IMAGES += $(G)/tinyos

.PHONY: guests
guests: $(GUEST_IMAGES) ## build the bundled guests

# The folder is the same for all compilers: what another one made is made again.
$(G)/.flags: TEXT = $(CC) $(GUEST_CFLAGS)

$(G)/obj/32/%.o: %.c $(G)/.flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(GUEST_CFLAGS) $(GUEST_M32) -c -o $@ $<
$(G)/obj/32/%.o: %.S $(G)/.flags
	@mkdir -p $(@D)
	$(Q)$(CC) -I. -g -MMD -MP -m32 -c -o $@ $<
$(G)/obj/64/%.o: %.c $(G)/.flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(GUEST_CFLAGS) $(GUEST_M64) -c -o $@ $<
$(G)/obj/64/%.o: %.S $(G)/.flags
	@mkdir -p $(@D)
	$(Q)$(CC) -I. -g -MMD -MP -m64 -c -o $@ $<

$(G)/%.elf: $(G)/obj/32/guests/%.o guests/lib/flat16.ld
	@echo "  GUEST $@"
	$(Q)$(CC) -m32 $(GUEST_LDFLAGS) -T guests/lib/flat16.ld -o $@ $<
$(G)/%.bin: $(G)/%.elf
	$(Q)objcopy -O binary $< $@

$(GUEST_32:guests/%.c=$(G)/%): $(G)/%: $(G)/obj/32/guests/%.o $(GUEST_LIB_32) guests/lib/image.ld
	@echo "  GUEST $@"
	$(Q)$(CC) -m32 $(GUEST_LDFLAGS) -T guests/lib/image.ld -o $@ $(filter %.o,$^)
$(GUEST_64_PLAIN:guests/%.c=$(G)/%): $(G)/%: $(G)/obj/64/guests/%.o \
		$(G)/obj/64/guests/lib/crt0_64.o $(GUEST_LIB_64) guests/lib/image.ld
	@echo "  GUEST $@"
	$(Q)$(CC) $(GUEST_LDFLAGS) -T guests/lib/image.ld -o $@ $(filter %.o,$^)
$(GUEST_64:guests/%.c=$(G)/%): $(G)/%: $(G)/obj/64/guests/%.o \
		$(G)/obj/64/guests/lib/crt0_mb64.o $(GUEST_LIB_64) guests/lib/image.ld
	@echo "  GUEST $@"
	$(Q)$(CC) $(GUEST_LDFLAGS) -T guests/lib/image.ld -o $@ $(filter %.o,$^)

# Parts that only one guest has.
$(G)/ring3: $(G)/obj/64/guests/ring3_entry.o $(G)/obj/64/guests/ring3_user.o
$(G)/apic_smp: $(G)/obj/64/guests/apic_smp_ap.o

TINYOS_OBJ := $(patsubst %,$(G)/obj/tinyos/%.o,$(basename $(TINYOS_SRC)))
$(G)/obj/tinyos/%.o: %.c $(G)/.flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(GUEST_CFLAGS) $(GUEST_M64) $(if $(findstring _user,$@),,-mcmodel=kernel) -c -o $@ $<
$(G)/obj/tinyos/%.o: %.S $(G)/.flags
	@mkdir -p $(@D)
	$(Q)$(CC) -I. -g -MMD -MP -m64 -c -o $@ $<
$(G)/tinyos: $(TINYOS_OBJ) guests/tinyos/tinyos.ld
	@echo "  GUEST $@"
	$(Q)$(CC) $(GUEST_LDFLAGS) -T guests/tinyos/tinyos.ld -o $@ $(TINYOS_OBJ)

-include $(wildcard $(G)/obj/*/guests/*.d $(G)/obj/*/guests/*/*.d)
