# Wicara: build, set-up, tests. `make help` lists the targets.
#
# Objects live in build/<variant>/, so release, debug and sanitizer builds stand side by side.
# Sources are found by their place in the tree; only kernel files get instruction-set flags
# (by suffix: *_avx2.c, *_avx512.c), everything else is built for baseline x86-64.

VARIANT ?= release
BUILD   ?= build
ifeq ($(origin CC),default)
CC      := gcc
endif

# Engine modules to compile; a subset serves work on one module.
MODULES ?= base formats tokenizer grammar template kernels model cache sampling scheduler
HAVE_ALL := $(filter scheduler,$(MODULES))
# A subset gets a folder of its own, or its archive would pass for the whole one.
SUBSET   := $(if $(filter-out file,$(origin MODULES)),-subset)
OUT      := $(BUILD)/$(VARIANT)$(SUBSET)

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

# The unrolled kernels take minutes to compile under a sanitizer; their bounds are watched by the guard
# pages of tests/kernels instead.
ISA_plain := $(if $(filter asan tsan,$(VARIANT)),-fno-sanitize=all)
isa = $(if $(filter %_avx512,$*),$(ISA_avx512) $(ISA_plain),$(if $(filter %_avx2,$*),$(ISA_avx2) $(ISA_plain)))
Q := $(if $(V),,@)
$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC    $<")
	$(Q)$(CC) $(CFLAGS_ALL) $(isa) -c $< -o $@

$(ENGINE_LIB): $(ENGINE_OBJ)
	@rm -f $@; mkdir -p $(@D); ar rcs $@ $^
$(SERVER_LIB): $(SERVER_OBJ)
	@rm -f $@; mkdir -p $(@D); ar rcs $@ $^

# The page: bundled by esbuild from web/, compressed and embedded. Without npm a plain page is built.
WEB_SRC  := $(wildcard web/*.html web/*.css web/src/*.js web/src/*.css web/package.json \
            web/package-lock.json web/*.mjs)
WEB_GEN  := $(BUILD)/generated/web_assets.c
WEB_OBJ  := $(OUT)/web_assets.o
$(WEB_GEN): $(WEB_SRC) config/setup/page.sh
	$(Q)sh config/setup/page.sh $(BUILD)
$(WEB_OBJ): $(WEB_GEN)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -c $< -o $@

$(OUT)/wicara: $(OUT)/server/main.o $(WEB_OBJ) $(SERVER_LIB) $(ENGINE_LIB)
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(CC) $(LINK_$(VARIANT)) -o $@ $^ $(LIBS_http) $(USES_BLAS) $(LIBS)

.PHONY: run setup setup-test
setup:  ## Debian packages and the default model
	@sh config/setup/packages.sh build
	@sh config/setup/model.sh > /dev/null
run: setup  ## Set up, build, and serve on http://127.0.0.1:8080 (ARGS="--port 9000" adds flags)
	@$(MAKE) --no-print-directory all
	@echo "starting the server; stop it with Ctrl-C"
	@exec $(OUT)/wicara --model "$$(sh config/setup/model.sh)" $(ARGS)

# ---- tests ----

MODEL = $(shell sh config/setup/model.sh 2>/dev/null)
PYTHON := build/venv/bin/python
test_link = $(CC) $(CFLAGS_ALL) $(LINK_$(VARIANT)) -o $@ $< $(ENGINE_LIB)

UNIT_SRC  := $(foreach m,$(MODULES),$(wildcard tests/engine/$(m)/*_test.c)) \
             $(if $(HAVE_ALL),$(wildcard tests/engine/*_test.c))
UNIT_BIN  := $(UNIT_SRC:%.c=$(OUT)/%)
$(OUT)/tests/engine/%_test: tests/engine/%_test.c $(ENGINE_LIB)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(test_link) -lcmocka $(USES_BLAS) $(LIBS)

SERVER_TEST_BIN := $(if $(HAVE_ALL),$(patsubst %.c,$(OUT)/%,$(wildcard tests/server/*_test.c)))
$(OUT)/tests/server/%_test: tests/server/%_test.c $(SERVER_LIB) $(ENGINE_LIB)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(CC) $(CFLAGS_ALL) $(LINK_$(VARIANT)) -o $@ $< $(SERVER_LIB) $(ENGINE_LIB) -lcmocka $(LIBS_http) $(USES_BLAS) $(LIBS)

CHECK_BIN := $(if $(filter kernels,$(MODULES)),$(patsubst %.c,$(OUT)/%,$(wildcard tests/kernels/*_check.c)))
$(OUT)/tests/kernels/%_check: tests/kernels/%_check.c $(ENGINE_LIB)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(test_link) -lcmocka $(USES_BLAS) $(LIBS)

# Small programs that compare with reference implementations: tests/golden/**/*_cli.c, tests/bench/*.c
CLI_BIN := $(patsubst %.c,$(OUT)/%,$(wildcard tests/golden/*/*_cli.c) $(wildcard tests/bench/*.c))
$(OUT)/tests/golden/%_cli: tests/golden/%_cli.c $(ENGINE_LIB)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(test_link) $(USES_BLAS) $(LIBS)
$(OUT)/tests/bench/%: tests/bench/%.c $(ENGINE_LIB)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(test_link) $(USES_BLAS) $(LIBS)

# Goldens of the model: tiny models written by us, logits by transformers (torch, transformers, gguf).
PYTHON_GOLDEN ?= python3
.PHONY: golden
golden: $(OUT)/tests/golden/model/tiny_cli  ## Make the logits of tiny models again (PYTHON_GOLDEN=python with torch)
	@mkdir -p $(BUILD)/tiny && $< $(BUILD)/tiny
	@$(PYTHON_GOLDEN) tests/golden/model/families.py $(BUILD)/tiny
	@$(PYTHON_GOLDEN) tests/golden/model/tiny_llama.py

# The server on a scripted engine, for protocol tests that need exact timing.
$(OUT)/wicara_fake: $(OUT)/server/main.o $(OUT)/tests/api/fake_engine.o $(WEB_OBJ) $(SERVER_LIB) $(ENGINE_LIB)
	$(if $(V),,@echo "  LINK  $@")
	$(Q)$(CC) $(LINK_$(VARIANT)) -o $@ $^ $(LIBS_http) $(USES_BLAS) $(LIBS)

.PHONY: test test-full test-unit test-kernels test-api test-browser test-torture test-sanitizers
.PHONY: lint setup-test debug asan tsan
setup-test: setup
	@sh config/setup/packages.sh test
	@sh config/setup/venv.sh
test: setup-test  ## Set up and run the whole suite
	@$(MAKE) --no-print-directory lint test-kernels test-unit test-fuzz test-api test-browser test-torture
test-full: setup-test all $(OUT)/wicara_fake $(CLI_BIN)  ## The full counts (about an hour; PARTS="tokens bytes" for some)
	@sh tests/full.sh "$(MODEL)" $(OUT) $(PARTS)
test-unit: $(UNIT_BIN) $(SERVER_TEST_BIN)  ## Unit tests (cmocka), one program a source file
	@set -e; export WICARA_TEST_MODEL="$(MODEL)"; for t in $^; do echo "== $$t"; $$t; done
test-kernels: $(CHECK_BIN)  ## Each kernel level that this CPU has against its scalar specification
	@set -e; for t in $^; do echo "== $$t"; $$t; done
test-api: $(OUT)/wicara $(OUT)/wicara_fake  ## HTTP tests with the official SDKs on the real model
	@WICARA_TEST_MODEL="$(MODEL)" WICARA_BIN=$(OUT)/wicara WICARA_FAKE_BIN=$(OUT)/wicara_fake \
	    $(PYTHON) -m pytest -q tests/api
test-browser: $(OUT)/wicara $(OUT)/wicara_fake  ## The page in headless Chromium
	@WICARA_TEST_MODEL="$(MODEL)" WICARA_BIN=$(OUT)/wicara WICARA_FAKE_BIN=$(OUT)/wicara_fake \
	    $(PYTHON) -m pytest -q tests/browser
FUZZ_TARGETS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
test-fuzz:  ## Replay the seeds and kept inputs of each fuzz target under ASan+UBSan
	@set -e; for t in $(FUZZ_TARGETS); do \
	    out=$(BUILD)/fuzz-replay/$$t; sh tests/fuzz/build.sh $$t $$out standalone; \
	    corpus=; [ ! -d tests/fuzz/corpus/$$t ] || corpus=tests/fuzz/corpus/$$t; \
	    seeds=; [ ! -d $$out/seeds/$$t ] || seeds=$$out/seeds/$$t; \
	    $$out/fuzz_$$t $$seeds $$corpus; done
SECONDS_EACH ?= 60
fuzz:  ## Fuzz each target for SECONDS_EACH (default 60) seconds
	@set -e; for t in $(FUZZ_TARGETS); do sh tests/fuzz/run.sh $$t $(SECONDS_EACH); done
parameters: all  ## Write the table of request parameters into README.md
	@sh config/setup/parameters.sh $(OUT)/wicara
.PHONY: parameters
format:  ## Apply .clang-format to the C sources
	@git ls-files '*.c' '*.h' | grep -v -e tables -e banned | xargs clang-format-14 -i
compdb: clean  ## compile_commands.json (needs bear)
	@bear -- $(MAKE) all
cover: ## Line coverage of the unit tests (needs gcovr)
	@$(MAKE) --no-print-directory VARIANT=cover test-unit && gcovr -r . $(BUILD)/cover
install: all  ## Install the binary under PREFIX (default /usr/local), honouring DESTDIR
	install -D -m 755 $(OUT)/wicara $(DESTDIR)$(PREFIX)/bin/wicara
	install -D -m 644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/wicara/LICENSE
	install -D -m 644 config/wicara.json $(DESTDIR)$(PREFIX)/share/doc/wicara/wicara.json
uninstall:  ## Remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/wicara
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/wicara
PREFIX ?= /usr/local
.PHONY: test-fuzz fuzz format compdb cover install uninstall
TORTURE_FLAGS = --model "$(MODEL)" --binary $(OUT)/wicara
test-torture: all $(OUT)/wicara_fake $(OUT)/tests/golden/grammar/grammar_cli  ## Promises judged over HTTP: bytes, leavers, streams, schema (samples)
	@$(PYTHON) tests/torture/same_bytes.py $(TORTURE_FLAGS) --quick --count 16
	@$(PYTHON) tests/torture/disconnect.py $(TORTURE_FLAGS) --count 300
	@$(PYTHON) tests/torture/streamed_whole.py $(TORTURE_FLAGS) --count 40
	@FAKE_DELAY_MS=0 $(PYTHON) tests/torture/schema.py --model "$(MODEL)" \
	    --binary $(OUT)/wicara_fake --examples 5
	@build/venv-clients/bin/python tests/golden/grammar/compare.py --cli $(OUT)/tests/golden/grammar/grammar_cli \
	    --model "$(MODEL)" --count 150 --docs 1 --regex 50
test-sanitizers: setup-test  ## Unit and API tests under ASan+UBSan; threads and API tests under TSan
	@$(MAKE) --no-print-directory VARIANT=asan test-unit test-api
	@$(MAKE) --no-print-directory VARIANT=tsan test-threads test-api
test-threads: $(filter %/pool_test %/scheduler/% %/engine_test,$(UNIT_BIN))
	@set -e; export WICARA_TEST_MODEL="$(MODEL)"; for t in $^; do echo "== $$t"; $$t; done
.PHONY: test-threads
lint:  ## Includes, sizes, banned functions, format
	@python3 tests/lint/lint.py
debug asan tsan:  ## The server built with asserts and poison, or under a sanitizer
	@$(MAKE) --no-print-directory VARIANT=$@ build/$@/wicara

# ROWS chooses the groups of rows (tests/bench/README.md), BENCH_MODEL the file, e.g. one that
# make_model wrote: build/release/tests/bench/make_model /tmp/1b.gguf 1b
.PHONY: bench bench-engine bench-kernels bench-peers cost
ROWS ?= throughput
BENCH_MODEL ?= $(MODEL)
BENCH_BIN := $(patsubst %.c,$(OUT)/%,$(wildcard tests/bench/*.c))
bench_py = python3 tests/bench/bench.py --model "$(BENCH_MODEL)" --binary $(OUT)/wicara \
           --engine-bench $(OUT)/tests/bench/engine_bench --probe $(OUT)/tests/bench/probe
bench: all $(BENCH_BIN)  ## Speed over HTTP, ours alone (ROWS=all or groups of rows, BENCH_MODEL=FILE)
	@$(bench_py) --groups $(ROWS) $(ARGS)
bench-engine: $(BENCH_BIN)  ## Speed of the engine alone, and what this machine can do
	@$(OUT)/tests/bench/probe
	@$(OUT)/tests/bench/engine_bench "$(BENCH_MODEL)" $(ARGS)
cost: all $(BENCH_BIN)  ## Price of a million tokens from the traffic held (PRICE=0.10 an hour)
	@$(bench_py) --groups traffic --traffic-kinds chat,rag,agent --price $(PRICE) $(ARGS)
PRICE ?= 0.10
bench-kernels: $(CHECK_BIN)  ## GB/s and GOP/s of each kernel and level
	@for t in $^; do $$t --bench; done
bench-peers: all $(BENCH_BIN)  ## Ours and llama.cpp interleaved (builds llama.cpp from its package)
	@sh tests/bench/build_peers.sh
	@$(bench_py) --groups $(ROWS) --peers build/peers/build/bin $(ARGS)

help:  ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16
clean:  ## Remove build/
	rm -rf build
.PHONY: help clean

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
