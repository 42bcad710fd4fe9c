# Wicara: build, set-up, tests. `make help` lists the targets.
#
# Objects live in build/<variant>/, so release, debug and sanitizer builds stand side by side.
# Sources are found by their place in the tree; only kernel files get instruction-set flags
# (by suffix: *_avx2.c, *_avx512.c), everything else is built for baseline x86-64.

VARIANT ?= release
BUILD   ?= build
OUT     := $(BUILD)/$(VARIANT)
CC      ?= gcc

# Engine modules to compile; a subset serves work on one module.
MODULES ?= base formats tokenizer template kernels model cache sampling scheduler
HAVE_ALL := $(filter scheduler,$(MODULES))

WARN    := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
           -Wundef -Wwrite-strings -Wstack-usage=32768 -Werror=implicit-function-declaration
HARDEN  := -fstack-protector-strong -fcf-protection -fPIE
OPT_release := -O2 -g1 -D_FORTIFY_SOURCE=2 $(HARDEN)
OPT_debug   := -O0 -g3 -DWICARA_DEBUG=1
OPT_asan    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -DWICARA_DEBUG=1
OPT_tsan    := -O1 -g -fno-omit-frame-pointer -fsanitize=thread -DWICARA_DEBUG=1
OPT_cover   := -O0 -g --coverage
LINK_release := -pie -Wl,-z,relro,-z,now
LINK_asan    := -fsanitize=address,undefined
LINK_tsan    := -fsanitize=thread
LINK_cover   := --coverage

CPPFLAGS += -I. -I$(BUILD)/generated -D_GNU_SOURCE -DWICARA_VERSION='"$(shell cat config/version 2>/dev/null || echo 0.0.0)"'
CFLAGS_ALL = -std=gnu11 $(WARN) $(OPT_$(VARIANT)) -ffp-contract=off -fno-math-errno -pthread \
             -include engine/base/banned.h -MMD -MP $(CPPFLAGS) $(CFLAGS)
ISA_avx2   := -mavx2 -mfma -mf16c -O3
ISA_avx512 := $(ISA_avx2) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mprefer-vector-width=512
LIBS       := -lcjson -lnettle -lz -lpthread -lm
LIBS_blas  := -l:libopenblas.so.0
LIBS_http  := -lmicrohttpd

ENGINE_SRC := $(foreach m,$(MODULES),$(wildcard engine/$(m)/*.c)) $(if $(HAVE_ALL),$(wildcard engine/*.c))
ENGINE_OBJ := $(ENGINE_SRC:%.c=$(OUT)/%.o)
SERVER_SRC := $(filter-out server/main.c,$(wildcard server/*.c))
SERVER_OBJ := $(SERVER_SRC:%.c=$(OUT)/%.o)
ENGINE_LIB := $(OUT)/libengine.a
SERVER_LIB := $(OUT)/libserver.a
USES_BLAS  := $(if $(filter kernels,$(MODULES)),$(LIBS_blas))

.PHONY: all
all: $(OUT)/wicara  ## Build the release binary build/release/wicara (default)

isa = $(if $(filter %_avx512,$*),$(ISA_avx512),$(if $(filter %_avx2,$*),$(ISA_avx2)))
$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(isa) -c $< -o $@

$(ENGINE_LIB): $(ENGINE_OBJ)
	@rm -f $@; mkdir -p $(@D); ar rcs $@ $^
$(SERVER_LIB): $(SERVER_OBJ)
	@rm -f $@; mkdir -p $(@D); ar rcs $@ $^

$(OUT)/wicara: $(OUT)/server/main.o $(SERVER_LIB) $(ENGINE_LIB)
	$(CC) $(LINK_$(VARIANT)) -o $@ $^ $(LIBS_http) $(USES_BLAS) $(LIBS)

# ---- tests ----

UNIT_SRC  := $(foreach m,$(MODULES),$(wildcard tests/engine/$(m)/*_test.c)) \
             $(if $(HAVE_ALL),$(wildcard tests/engine/*_test.c))
UNIT_BIN  := $(UNIT_SRC:%.c=$(OUT)/%)
$(OUT)/tests/engine/%_test: tests/engine/%_test.c $(ENGINE_LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LINK_$(VARIANT)) -o $@ $< $(ENGINE_LIB) -lcmocka $(USES_BLAS) $(LIBS)

test-unit: $(UNIT_BIN)  ## Unit tests (cmocka), one program a source file
	@set -e; for t in $(UNIT_BIN); do echo "== $$t"; $$t; done
.PHONY: test-unit

help:  ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16
clean:  ## Remove build/
	rm -rf build
.PHONY: help clean

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
