# cx: build, check, install. One file, no recursion.
#
#   make                              the tools, into build/
#   make DEBUG=1                      without optimisation, into build-debug/
#   make SANITIZE=address,undefined   instrumented, into build-address,undefined/
#   make unit                         the unit tests
#   make fuzz-run FUZZ_SECONDS=60     the fuzz targets by clang, into build-fuzz/
#   make layers style                 architecture and style of the sources
#   make install uninstall            DESTDIR= PREFIX=/usr/local UNITS_DIR=PREFIX/lib/systemd/system
#   make deb                          build/cx_VERSION_ARCH.deb

# ---- what

VERSION := 0.1.0
TOOLS   := $(patsubst tools/%/main.c,%,$(wildcard tools/*/main.c))
DOMAINS := $(patsubst lib/%/,%,$(wildcard lib/*/))

# ---- how

CC       ?= gcc
PREFIX   ?= /usr/local
VARIANT  := $(if $(SANITIZE),-$(SANITIZE))$(if $(DEBUG),-debug)
BUILD    := build$(VARIANT)
PACKAGES := libssl libcrypto libcurl libevent libevent_openssl libevent_pthreads libsodium \
            libarchive libzstd sqlite3 jansson yaml-0.1 libsystemd zlib

CPPFLAGS += -Ilib -D_GNU_SOURCE -MMD -MP
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wformat=2 -Werror
# UBSan names an overflow and its place; -ftrapv would end the program before that.
HARDEN   := -fstack-protector-strong -fstack-clash-protection -fPIE $(if $(SANITIZE),,-ftrapv)
ifeq ($(SANITIZE)$(DEBUG),)
HARDEN   += -D_FORTIFY_SOURCE=2
CFLAGS   ?= -O2 -g
else
CFLAGS   ?= -O1 -g -fno-omit-frame-pointer
endif
INCLUDES := $(shell pkg-config --cflags $(PACKAGES))
override CFLAGS += -std=gnu11 $(WARNINGS) $(HARDEN) $(INCLUDES) \
                   $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all)
override LDFLAGS += -pie -Wl,-z,relro,-z,now,--as-needed $(if $(SANITIZE),-fsanitize=$(SANITIZE))
LDLIBS   := $(shell pkg-config --libs $(PACKAGES)) -lmsgpackc -lm -pthread

# Everything that a recipe in this file writes goes below BUILD.
objects   = $(patsubst %.c,$(BUILD)/%.o,$(wildcard $(1)))
LIBCX    := $(BUILD)/libcx.a
BINARIES := $(TOOLS:%=$(BUILD)/cx-%)
UNITS    := $(patsubst test/unit/%.c,$(BUILD)/unit/%,$(wildcard test/unit/test_*.c))
FIXTURES := $(call objects,$(filter-out test/unit/test_%,$(wildcard test/unit/*.c)))

# ---- rules

# Few files say the version: another one compiles those alone, and links.
SAYING := lib/base/cli.o lib/base/http_transfer.o test/unit/test_cli.o
SAID    = -DCX_VERSION='"$(VERSION)"'
$(SAYING:%=$(BUILD)/%) $(SAYING:%=build-fuzz/%): CPPFLAGS += $(SAID)
$(SAYING:%=$(BUILD)/%): $(BUILD)/said
$(BUILD)/said: FORCE
	@mkdir -p $(@D)
	@echo $(VERSION) | cmp -s - $@ || echo $(VERSION) >$@
FORCE:

# Rules stand above `all`, which is what plain `make` makes all the same.
.DEFAULT_GOAL := all
.PHONY: FORCE all unit fuzz fuzz-run layers style lint manual install uninstall deb clean
.SECONDARY:
.SECONDEXPANSION:
.DELETE_ON_ERROR:

all: $(LIBCX) $(BINARIES)

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(LIBCX): $(call objects,$(DOMAINS:%=lib/%/*.c))
	@rm -f $@
	$(AR) rcs $@ $^

$(BINARIES): $(BUILD)/cx-%: $$(call objects,tools/$$*/*.c) $(LIBCX)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# test_TOOL_part may use what is in tools/TOOL, all but its main: "TOOL/part.h".
$(BUILD)/test/unit/%.o: CPPFLAGS += -Itools
tool_of   = $(filter-out %/main.o,$(call objects,tools/$(word 2,$(subst _, ,$(1)))/*.c))

$(BUILD)/unit/%: $(BUILD)/test/unit/%.o $(FIXTURES) $$(call tool_of,$$*) $(LIBCX)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

-include $(shell find $(BUILD) -name '*.d' -type f 2>/dev/null)

# ---- fuzz

# libFuzzer is clang's, so these objects have a folder and flags of their own. What a run finds is
# kept below FUZZ; test/fuzz/corpus holds the seeds.
FUZZ         := build-fuzz
FUZZ_SECONDS ?= 10
FUZZ_CC      ?= clang
FUZZ_FLAGS   := -std=gnu11 -O1 -g -fno-omit-frame-pointer -Wall -Wextra $(INCLUDES) \
                -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZERS      := $(patsubst test/fuzz/%.c,$(FUZZ)/%,$(wildcard test/fuzz/fuzz_*.c))

$(FUZZ)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(FUZZ_CC) $(CPPFLAGS) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -c -o $@ $<

$(FUZZ)/libcx.a: $(patsubst %.c,$(FUZZ)/%.o,$(wildcard $(DOMAINS:%=lib/%/*.c)))
	@rm -f $@
	$(AR) rcs $@ $^

# fuzz_TOOL_part may use what is in tools/TOOL, all but its main, as unit tests do.
fuzz_of = $(patsubst %.c,$(FUZZ)/%.o,$(filter-out %/main.c,$(wildcard tools/$(firstword $(subst _, ,$(1)))/*.c)))
$(FUZZ)/test/fuzz/%.o: CPPFLAGS += -Itools

$(FUZZ)/fuzz_%: $(FUZZ)/test/fuzz/fuzz_%.o $$(call fuzz_of,$$*) $(FUZZ)/libcx.a
	$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)

fuzz: $(FUZZERS)

# Each target for FUZZ_SECONDS; the first crash ends it and leaves its input below FUZZ.
fuzz-run: $(FUZZERS)
	@for name in $(FUZZERS:$(FUZZ)/fuzz_%=%); do \
	  seeds=test/fuzz/corpus/$$name; test -d $$seeds || seeds=; \
	  echo $(FUZZ)/fuzz_$$name && mkdir -p $(FUZZ)/corpus/$$name && \
	  $(FUZZ)/fuzz_$$name -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 \
	    -print_final_stats=1 -verbosity=0 -artifact_prefix=$(FUZZ)/ \
	    $(FUZZ)/corpus/$$name $$seeds || exit 1; \
	done

-include $(shell find $(FUZZ) -name '*.d' -type f 2>/dev/null)

# ---- checks

# Each prints cmocka's own closing lines; the first failure ends it.
unit: $(UNITS)
	@for test in $(UNITS); do echo "$$test" && CX_SHARE=$(CURDIR)/share "$$test" || exit 1; done

layers:
	@scripts/layers

style:
	clang-format --dry-run --Werror $$(git ls-files '*.c' '*.h')
	shfmt -i 4 -ci -d $$(scripts/shell-files)
	shellcheck -x $$(scripts/shell-files)

lint:
	cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr -Ilib --library=test/cppcheck.cfg \
	  --enable=warning,performance,portability lib tools

# ---- manual: what the programs say of themselves

MANUAL := scripts/manual scripts/common.sh scripts/lib/manual.jq share/man/examples share/man/files
PAGES  := $(TOOLS:%=$(BUILD)/man/cx-%.1) $(BUILD)/man/caxton.1 $(BUILD)/man/cx-scripts.7
manual: $(PAGES) $(BUILD)/man/completions

$(BUILD)/man/%: $$(filter $(BINARIES),$(BUILD)/$$(basename $$*)) $(MANUAL) $(wildcard scripts/* runbooks/*) | $(BINARIES)
	@mkdir -p $(@D)
	CX_BUILD=$(CURDIR)/$(BUILD) scripts/manual $(if $(filter completions,$*),$*,man $(basename $*)) >$@

# ---- install

# Everything finds the rest from where it is itself: the tree works at any PREFIX, and after a move.
SHARE       := $(PREFIX)/share/cx
COMPLETIONS := $(PREFIX)/share/bash-completion/completions
UNITS_DIR   ?= $(PREFIX)/lib/systemd/system
FOLDERS     := $(filter-out man systemd debian logrotate,$(notdir $(wildcard share/*)))

install: all manual
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man7 \
	  $(DESTDIR)$(COMPLETIONS) $(DESTDIR)$(UNITS_DIR)
	install -m 0755 $(BINARIES) $(DESTDIR)$(PREFIX)/bin
	rm -rf $(DESTDIR)$(SHARE)
	install -d $(DESTDIR)$(SHARE)/scripts/lib $(DESTDIR)$(SHARE)/scripts/tasks
	cp -R $(FOLDERS:%=share/%) $(wildcard runbooks) $(DESTDIR)$(SHARE)
	install -m 0755 $$(scripts/manual scripts | grep ^scripts/) scripts/caxton $(DESTDIR)$(SHARE)/scripts
	install -m 0755 scripts/tasks/* $(DESTDIR)$(SHARE)/scripts/tasks
	install -m 0644 scripts/common.sh $(DESTDIR)$(SHARE)/scripts
	cp $(filter-out %/manual.jq %/completion.bash,$(wildcard scripts/lib/*)) $(DESTDIR)$(SHARE)/scripts/lib
	chmod -R u+rwX,go+rX,go-w $(DESTDIR)$(SHARE)
	ln -sfn ../share/cx/scripts/caxton $(DESTDIR)$(PREFIX)/bin/caxton
	install -m 0644 $(filter %.1,$(PAGES)) $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 0644 $(filter %.7,$(PAGES)) $(DESTDIR)$(PREFIX)/share/man/man7
	install -m 0644 $(BUILD)/man/completions $(DESTDIR)$(COMPLETIONS)/caxton
	for name in $(TOOLS); do ln -sfn caxton $(DESTDIR)$(COMPLETIONS)/cx-$$name; done
	for unit in share/systemd/*.service; do \
	  sed 's,@BIN@,$(PREFIX)/bin,' $$unit >$(DESTDIR)$(UNITS_DIR)/$${unit##*/}; done
	for kind in sysusers tmpfiles; do \
	  install -D -m 0644 share/systemd/$$kind.conf $(DESTDIR)$(PREFIX)/lib/$$kind.d/cx.conf; done

uninstall:
	rm -rf $(DESTDIR)$(SHARE)
	rm -f $(TOOLS:%=$(DESTDIR)$(PREFIX)/bin/cx-%) $(DESTDIR)$(PREFIX)/bin/caxton \
	  $(TOOLS:%=$(DESTDIR)$(COMPLETIONS)/cx-%) $(DESTDIR)$(COMPLETIONS)/caxton \
	  $(patsubst $(BUILD)/man/%.1,$(DESTDIR)$(PREFIX)/share/man/man1/%.1,$(filter %.1,$(PAGES))) \
	  $(DESTDIR)$(PREFIX)/share/man/man7/cx-scripts.7 $(DESTDIR)$(PREFIX)/lib/sysusers.d/cx.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/cx.conf \
	  $(patsubst share/systemd/%,$(DESTDIR)$(UNITS_DIR)/%,$(wildcard share/systemd/*.service))

# ---- package

# debhelper works in a folder that it calls the sources; it lies below BUILD and holds what it needs.
DEB      := $(BUILD)/deb/cx
DEB_DATE := $(shell git log -1 --format=%cD 2>/dev/null || date -R)
deb: all manual
	rm -rf $(DEB) && mkdir -p $(DEB)
	cp -R share/debian $(DEB)/debian
	cp share/logrotate/caxton $(DEB)/debian/cx.logrotate
	cp README.md $(DEB)
	cp CHANGELOG.md $(DEB)/NEWS.md
	printf 'cx (%s) stable; urgency=medium\n\n  * See NEWS.md.gz beside this file.\n\n -- %s  %s\n' $(VERSION) \
	  "$$(sed -n 's/^Maintainer: //p' share/debian/control)" "$(DEB_DATE)" >$(DEB)/debian/changelog
	cd $(DEB) && CX_SOURCE=$(CURDIR) CX_VERSION=$(VERSION) CX_BUILD=$(BUILD) debian/rules binary
	mv $(BUILD)/deb/cx_$(VERSION)_*.deb $(BUILD)

clean:
	rm -rf build build-*
