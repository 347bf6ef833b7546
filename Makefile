# ucbench - the only build. `make help` lists the targets; ./ucbench is the product.
#
# A folder per variant (release, clang, asan, tsan, fuzz); header dependencies by -MMD -MP. The instruction set a file is
# compiled for stands in its name: *_avx2.c, *_avx512.c, *_avx512bf16.c, *_amx.c; everything else is plain x86-64-v2.

CC ?= cc
ifeq ($(origin CC),default)
CC := gcc
endif
VARIANT ?= release
B := build/$(VARIANT)
T ?= 60
# V=1 shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@echo "  $(1)	$(2)")
JOBS ?= $(shell nproc)

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wpointer-arith -Wno-psabi -Werror
BASE := -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -g -fno-omit-frame-pointer -ffp-contract=off -pthread \
        -Iharness -I$(B)/gen -MMD -MP
ARCH := -march=x86-64-v2
OPT := -O2
ifeq ($(VARIANT),clang)
CC := clang
endif
ifeq ($(VARIANT),asan)
OPT := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
endif
ifeq ($(VARIANT),tsan)
OPT := -O1 -fsanitize=thread
endif
ifeq ($(VARIANT),fuzz)
CC := clang
OPT := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
endif
# gcc guesses which snprintf may cut; messages are meant to be cut at their buffer's end. clang has no such warning.
WARN += $(if $(findstring clang,$(CC)),,-Wno-format-truncation)
CFLAGS_ALL := $(BASE) $(WARN) $(ARCH) $(OPT) $(CFLAGS)
LIBS := -lsqlite3 -lcsv -ljansson -lpcre2-8 -lutf8proc -lcrypto -ldl -lm

ISA_avx2 := -march=x86-64-v3
ISA_avx512 := -march=x86-64-v4
ISA_avx512bf16 := -march=x86-64-v4 -mavx512bf16
ISA_amx := -march=x86-64-v4 -mamx-tile -mamx-bf16

find_c = $(sort $(shell find $(1) -name '*.c' 2>/dev/null))
HARNESS := $(call find_c,harness)
METHODS := $(sort $(wildcard methods/*.c))
METHOD_PARTS := $(sort $(wildcard methods/*/*.c))
LIBRARY := $(filter-out harness/main.c,$(HARNESS)) $(METHODS) $(METHOD_PARTS)
TASKS := $(sort $(wildcard harness/task/task_*.c))
TESTS := $(sort $(shell find tests -name '*.c' -not -path 'tests/fuzz/*' -not -path 'tests/perf/*' \
           -not -path 'tests/tools/*' -not -path 'tests/simulate/*' 2>/dev/null)) \
         $(sort $(wildcard tests/fuzz/replay*.c))
RESOURCES := $(sort $(shell find db reports datasets models -type f \( -name '*.sql' -o -name '*.gp' -o -name '*.html' \
               -o -name '*.css' -o -name '*.js' -o -name '*.ini' -o -name '*.jsonl' -o -name '*.txt' -o -name '*.csv' \) 2>/dev/null))
SOURCES := $(sort $(shell find harness methods -name '*.[chS]' 2>/dev/null)) $(sort $(wildcard cuda/*)) $(RESOURCES) scripts/resources.sh Makefile

obj = $(patsubst %.c,$(B)/%.o,$(1))
LIB_OBJ := $(call obj,$(LIBRARY)) $(B)/gen/resources.o
GEN := $(B)/gen/methods.list $(B)/gen/tasks.list

# The GPU plugin, where nvcc is: SASS for Ampere to Blackwell, as far as this nvcc knows them, and PTX of the newest for
# what comes after. The same sources make the emulation that tests load in its place; see docs/cuda.md.
NVCC ?= $(shell command -v nvcc 2>/dev/null || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
CUDA_SOURCES := $(sort $(wildcard cuda/*.cu cuda/*.cuh cuda/*.h))
CUDA_SHARED := methods/bnb4/bnb4_tables.h methods/int8/int8_inverse.h harness/model/iq4_values.h $(wildcard harness/codec/*_plan.h methods/*/*_plan.h)
CUDA_DEPENDS := $(CUDA_SOURCES) harness/backend/cuda_abi.h harness/backend/backend.h $(CUDA_SHARED) Makefile
CUDA_ARCHS = $(foreach a,80 86 89 90 100 120,$(if $(filter compute_$(a),$(shell $(NVCC) --list-gpu-arch)),$(a)))
CUDA_CODE = $(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$(a),code=sm_$(a)) \
            -gencode arch=compute_$(lastword $(CUDA_ARCHS)),code=compute_$(lastword $(CUDA_ARCHS))
CUDA_FLAGS = -std=c++17 -O3 -fmad=false -Iharness -DUCB_CUDA_ARCHITECTURES='"$(addprefix sm_,$(CUDA_ARCHS))"' \
             -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra --threads 0 -cudart static \
             -Xlinker -rpath,$(patsubst %/bin/nvcc,%/lib64,$(realpath $(NVCC)))
CXX_FLAGS := -std=c++17 -g -Wall -Wextra -Wno-unused-function -Werror -ffp-contract=off -march=x86-64-v3 -pthread -Iharness
# Fibers and TSan do not know each other: under TSan a CUDA thread is a thread.
EMULATION := $(if $(shell command -v $(CXX) 2>/dev/null),$(if $(filter tsan fuzz,$(VARIANT)),,\
               $(B)/libucbench_cuda_emulated.so $(B)/emulation-test $(B)/emulation-test-threads)) \
             $(if $(NVCC),$(if $(filter release,$(VARIANT)),$(B)/libucbench_cuda.so $(B)/libucbench_cuda.ptx))

.PHONY: all cuda help demo test test-fast asan tsan clang check fire bench bench-depth ladder ladder-ci bench-memory bench-peers bench-scoring bench-sweep bench-codec simulate fuzz clean compdb model setup FORCE
.DEFAULT_GOAL := all

all: ucbench $(if $(NVCC),libucbench_cuda.so) ## build ./ucbench, and the GPU plugin where nvcc is
ucbench: $(B)/ucbench
	@cmp -s $< $@ || cp $< $@

cuda: $(if $(NVCC),libucbench_cuda.so) ## build the GPU plugin (`make` does, where nvcc is)
	@$(if $(NVCC),:,echo "cuda: no nvcc; install the CUDA toolkit or set NVCC" >&2 && exit 4)
libucbench_cuda.so: $(B)/libucbench_cuda.so
	@cmp -s $< $@ || cp $< $@
$(B)/libucbench_cuda.so: $(CUDA_DEPENDS)
	@mkdir -p $(@D)
	$(call say,NVCC,$@)
	$(Q)$(NVCC) $(CUDA_FLAGS) $(CUDA_CODE) -shared -o $@ cuda/plugin.cu
# What the device is told to do, for a test to read: the same flags.
$(B)/libucbench_cuda.ptx: $(CUDA_DEPENDS)
	@mkdir -p $(@D)
	$(call say,NVCC,$@)
	$(Q)$(NVCC) $(CUDA_FLAGS) -arch=compute_$(firstword $(CUDA_ARCHS)) -ptx -o $@ cuda/plugin.cu
$(B)/libucbench_cuda_emulated.so: $(CUDA_DEPENDS)
	@mkdir -p $(@D)
	$(call say,CXX,$@)
	$(Q)$(CXX) $(CXX_FLAGS) $(OPT) -fPIC -fvisibility=hidden -shared -o $@ -x c++ cuda/plugin.cu
$(B)/emulation-test: tests/cuda/emulation_test.cpp $(CUDA_DEPENDS)
	@mkdir -p $(@D)
	$(call say,CXX,$@)
	$(Q)$(CXX) $(CXX_FLAGS) -O2 -o $@ $<
$(B)/emulation-test-threads: tests/cuda/emulation_test.cpp $(CUDA_DEPENDS)
	@mkdir -p $(@D)
	$(call say,CXX,$@)
	$(Q)$(CXX) $(CXX_FLAGS) -O1 -fsanitize=thread -DUCB_EMULATION_THREADS -o $@ $<

$(B)/ucbench: $(B)/harness/main.o $(LIB_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $^ $(LIBS)

# methods/foo.c -> METHOD(foo): the file name is the registration. The same for harness/task/task_foo.c -> TASK(foo).
$(B)/gen/methods.list: $(METHODS) $(wildcard methods)
	@mkdir -p $(@D)
	@printf '%s' "$(foreach m,$(METHODS),METHOD($(basename $(notdir $(m)))) )" > $@
$(B)/gen/tasks.list: $(TASKS) $(wildcard harness/task)
	@mkdir -p $(@D)
	@printf '%s' "$(foreach m,$(TASKS),TASK($(patsubst task_%,%,$(basename $(notdir $(m))))) )" > $@

# SQL, report and data files are part of the program: it runs from any folder.
$(B)/gen/resources.S: $(RESOURCES) scripts/resources.sh
	@mkdir -p $(@D)
	@sh scripts/resources.sh $(RESOURCES) > $@
$(B)/gen/resources.o: $(B)/gen/resources.S $(RESOURCES) $(B)/gen/flags
	$(Q)$(CC) $(BASE) -c -o $@ $<

# What objects depend on beside their sources: touched only when compiler or flags are others than last time.
quote = '$(subst ','\'',$(1))'
$(B)/gen/flags: FORCE
	@mkdir -p $(@D)
	@{ $(CC) --version | head -n 1; printf '%s\n' $(call quote,$(CC) $(CFLAGS_ALL)) $(call quote,avx2 $(ISA_avx2)) \
	   $(call quote,avx512 $(ISA_avx512)) \
	   $(call quote,avx512bf16 $(ISA_avx512bf16)) $(call quote,amx $(ISA_amx)) $(call quote,O3 $(O3_SOURCES)) $(call quote,$(LIBS)); } > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

# SHA-256 over names and contents of all sources, the compiler's version and its flags: one id, one program.
$(B)/gen/build_id.h: $(B)/gen/flags FORCE
	@{ sha256sum $(SOURCES); cat $<; } | sha256sum | \
	   sed 's/^\([0-9a-f]*\).*/#define UCB_BUILD_ID "\1"/' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(B)/harness/core/build.o: $(B)/gen/build_id.h

# Loops over planes, symbols, codes and lanes, which -O2 leaves scalar.
O3_SOURCES := harness/codec/% harness/model/blocks.c harness/backend/pack.c
o3 = $(if $(filter $(O3_SOURCES),$(1)),-O3)
isa = $(ISA_$(lastword $(subst _, ,$(basename $(notdir $(1))))))
$(B)/%.o: %.c $(B)/gen/flags | $(GEN)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) $(call isa,$<) $(call o3,$<) $(EXTRA) -c -o $@ $<
$(B)/tests/%.o: EXTRA := -Itests -DUCB_TEST_ROOT='"$(CURDIR)"' -DUCB_TEST_PROGRAM='"$(CURDIR)/$(B)/ucbench"'

$(B)/ucbench-test: $(call obj,$(TESTS)) $(LIB_OBJ) | $(EMULATION)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $^ $(LIBS)

-include $(shell find build/$(VARIANT) -name '*.d' 2>/dev/null)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## install missing packages (says which and why)
	@sh scripts/setup.sh

model: ## fetch the default model into the cache
	@sh scripts/fetch.sh model smollm2-135m

demo: setup ## everything: packages, build, model, sweep, charts into demo/
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@sh scripts/demo.sh

test: setup ## all tests (minutes); fetches the model that some of them need
	@sh scripts/fetch.sh model smollm2-135m || echo "test: without the model, its tests are skipped"
	@$(MAKE) --no-print-directory -j$(JOBS) all $(B)/ucbench-test
	@$(B)/ucbench-test

test-fast: ## unit, contract and golden tests (seconds)
	@$(MAKE) --no-print-directory -j$(JOBS) $(B)/ucbench $(B)/ucbench-test
	@$(B)/ucbench-test unit contract golden prop

asan: ## all tests under AddressSanitizer and UBSan
	@$(MAKE) --no-print-directory -j$(JOBS) VARIANT=asan build/asan/ucbench build/asan/ucbench-test
	@UCBENCH=$(CURDIR)/build/asan/ucbench build/asan/ucbench-test
tsan: ## thread tests under ThreadSanitizer
	@$(MAKE) --no-print-directory -j$(JOBS) VARIANT=tsan build/tsan/ucbench build/tsan/ucbench-test
	@UCBENCH=$(CURDIR)/build/tsan/ucbench build/tsan/ucbench-test unit contract same
clang: ## build with clang, warnings are errors
	@$(MAKE) --no-print-directory -j$(JOBS) VARIANT=clang build/clang/ucbench build/clang/ucbench-test

check: ## headers compile alone, includes point one way, symbols, names, clang build
	+@sh scripts/check.sh
	@$(MAKE) --no-print-directory clang

PEERS_TABLE := $(B)/peers.table
bench: all ## measure speed: ratios to the machine's limits (minutes; PEERS=DIR: and to other projects)
	@$(MAKE) --no-print-directory -j$(JOBS) $(B)/ucbench-bench
	@: > $(PEERS_TABLE)
	$(if $(PEERS),@sh scripts/peers.sh run $(PEERS) --bench $(B)/ucbench-bench --table $(PEERS_TABLE) $(BENCH_PEERS))
	$(if $(PEERS),@sh scripts/peers.sh scoring $(PEERS) --bench $(B)/ucbench-bench --table $(PEERS_TABLE) $(BENCH_SCORING))
	@$(B)/ucbench-bench $(if $(PEERS),--peers $(PEERS_TABLE)) $(BENCH)
$(B)/ucbench-bench: $(call obj,$(sort $(wildcard tests/perf/*.c))) $(LIB_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $^ $(LIBS)

bench-peers: all ## encode speed beside other projects' (minutes; scripts/peers.sh installs them)
	@$(MAKE) --no-print-directory -j$(JOBS) $(B)/ucbench-bench
	@sh scripts/peers.sh run $(PEERS) --bench $(B)/ucbench-bench $(BENCH_PEERS)

bench-scoring: all ## perplexity of a text beside PyTorch and llama.cpp (20 minutes)
	@$(MAKE) --no-print-directory -j$(JOBS) $(B)/ucbench-bench
	@sh scripts/peers.sh scoring $(PEERS) --bench $(B)/ucbench-bench $(BENCH_SCORING)
bench-codec: all ## the lossless codec beside ZipNN (a minute)
	@$(MAKE) --no-print-directory -j$(JOBS) $(B)/ucbench-bench
	@sh scripts/peers.sh codec $(PEERS) --bench $(B)/ucbench-bench $(BENCH_CODEC)
bench-sweep: all ## a whole sweep beside transformers, bitsandbytes and hqq (an hour; BENCH_SWEEP="--n 50": minutes)
	@sh scripts/peers.sh sweep $(PEERS) $(BENCH_SWEEP)

bench-memory: all ## peak memory on a synthetic 2B checkpoint beside its bound (minutes; MEMORY=8B: 16 GB of disk)
	@$(MAKE) --no-print-directory -j$(JOBS) $(B)/synthetic_model
	@sh scripts/bench_memory.sh $(B)/synthetic_model ./ucbench $(or $(MEMORY),2B)
ladder: all ## the seed's tiers and head-to-head table in full (some seven hours of two cores; UCBENCH_DATA=folder)
	@sh scripts/ladder.sh plans/ladder.csv $(or $(OUT),build/ladder)
ladder-ci: all ## the same at 50 steps and 20 windows on the mini sets (9 minutes of two cores)
	@sh scripts/ladder.sh plans/ladder-ci.csv $(or $(OUT),build/ladder-ci) --data mini

bench-depth: all ## time and memory of a tuned layer against the depth of a model (a minute)
	@$(MAKE) --no-print-directory -j$(JOBS) $(B)/synthetic_model
	@sh scripts/bench_depth.sh $(B)/synthetic_model ./ucbench
$(B)/synthetic_model: $(call obj,tests/synthetic.c tests/tools/synthetic_model.c)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $^ -lm

fire: all ## 200 kills, crowded databases and a failing disk, at length (a quarter of an hour)
	@$(MAKE) --no-print-directory -j$(JOBS) $(B)/ucbench-test
	@UCB_FIRE=1 $(B)/ucbench-test fault -k tests/fault/test_fire.c
	@UCB_FIRE=1 $(B)/ucbench-test fault -k tests/fault/test_store_inject.c

simulate: ## coverage and error rates of the statistics by simulation (minutes; SETS=1000: fewer data sets)
	@$(MAKE) --no-print-directory -j$(JOBS) $(B)/ucbench-simulate
	@$(B)/ucbench-simulate $(SETS)
$(B)/ucbench-simulate: $(call obj,$(sort $(wildcard tests/simulate/*.c)) tests/gate_year.c) $(LIB_OBJ)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $^ $(LIBS)

fuzz: ## fuzz every reader for T seconds each (default 60)
	@sh scripts/fuzz.sh $(T)
$(B)/fuzz-%: tests/fuzz/fuzz_%.c $(LIB_OBJ)
	$(CC) $(CFLAGS_ALL) -Itests -fsanitize=fuzzer -o $@ $(filter %.c %.o,$^) $(LIBS)

compdb: ## compile_commands.json for editors
	@bear -- $(MAKE) --no-print-directory -B all

clean: ## remove what was built
	rm -rf build ucbench
FORCE:
