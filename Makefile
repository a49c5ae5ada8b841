# SPDX-License-Identifier: Apache-2.0
# Everything there is to do, in one place. "make help" lists it.
GO     ?= go
export CGO_ENABLED = 0
# Packages below testdata are real ones, but "..." passes them by.
PKGS   := ./... ./testdata/bench ./testdata/lab ./testdata/licences ./testdata/wording ./testdata/vm/suite ./testdata/vm/table
FUZZTIME ?= 30s
# What the build of the BPF objects, the tests and the demo need, by Debian's names.
DEPS   := clang llvm libbpf-dev clang-format iproute2 iptables nftables conntrack tcpdump tshark bpftool fio e2fsprogs xfsprogs \
          procps dnsutils dnsmasq-base iputils-ping jq containerd runc containernetworking-plugins busybox-static
# What the demo needs, and no more: a trial of ktrace should change little on a machine.
DEMODEPS := iproute2 iptables nftables conntrack dnsmasq-base
# What the VMs need beside. From Debian 13 on virtiofsd is a package of its own.
VMDEPS := qemu-system-x86 qemu-system-common kmod xz-utils util-linux \
          $(shell apt-cache pkgnames virtiofsd 2>/dev/null | grep -x virtiofsd)
# The kernels that people run, and this machine's own.
KERNELS ?= 5.10 6.1 6.12 6.18 newest host
# The tests that run on them: ci, core or all, as testdata/vm/suite lists them.
export SUITE ?= core

.PHONY: help build generate check-generated fmt lint test attack test-arm64 test-vm test-vm-arm64 test-cluster deps vm-deps fuzz mutate demo clean golden records capabilities soak bench

help: ## show this
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

# Without the symbols of a debugger, and without golang.org/x/net/trace, which gRPC links a template engine for: 25 MB, not 42.
# What "ktrace version" says is asked of git where there is one: go build stamps nothing in a container that distrusts
# the owner of the files, nor in a source archive, for which VERSION=v1.2.3 is given.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
BUILD   := -trimpath -tags grpcnotrace -ldflags '-s -w -X ktrace/cmd/internal/flags.stamped=$(VERSION)'

build: ## build ./ktrace, a static binary
	$(GO) build $(BUILD) -o ktrace ./cmd/ktrace

generate: ## make the BPF objects and their Go anew (needs clang), and THIRD_PARTY_NOTICES
	$(GO) generate ./bpf/
	$(GO) run ./testdata/licences >THIRD_PARTY_NOTICES

check-generated: generate ## fail if what is committed is not what the sources make
	@git diff --exit-code -- bpf decoder/wire THIRD_PARTY_NOTICES || { echo "run make generate and commit what it changes"; exit 1; }

fmt: ## format Go and C, and add the SPDX lines that are missing
	$(GO) run ./testdata/licences -spdx
	gofmt -w $$(git ls-files '*.go')
	clang-format -i bpf/*.c bpf/include/*.h

lint: ## gofmt, vet, staticcheck, clang-format
	@test -z "$$(gofmt -l $$(git ls-files '*.go') | tee /dev/stderr)"
	$(GO) vet $(PKGS)
	$(GO) tool staticcheck $(PKGS)
	@if command -v clang-format >/dev/null; then clang-format --dry-run -Werror bpf/*.c bpf/include/*.h; fi

deps: ## install what build and tests need, and remove nothing for it (Debian or Ubuntu, as root)
	@for p in $(DEPS); do dpkg -s $$p >/dev/null 2>&1 || need="$$need $$p"; done; \
	if [ -n "$$need" ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-remove $$need; fi

vm-deps: DEPS += $(VMDEPS)
vm-deps: deps

test-vm: vm-deps ## the live tests under stock kernels in VMs; SUITE=all for all scenarios, UPDATE=1 records the results (as root)
	testdata/vm/matrix $(if $(UPDATE),-u) $(KERNELS)

# What knows no kernel runs in user emulation.
test-arm64: DEPS = qemu-user-static
test-arm64: deps ## the decoders' tests as an arm64 machine runs them
	GOARCH=arm64 $(GO) test -exec qemu-aarch64-static ./decoder/... ./cmd/internal/print

test-vm-arm64: DEPS += $(VMDEPS) qemu-system-arm
test-vm-arm64: deps ## ktrace itself under an arm64 kernel, which is emulated as a whole: some minutes (as root)
	testdata/vm/arm64

# Many tests at a time: they wait for most of theirs, for a client's timeout or the end of a run, each in a network of its
# own, and the lab bounds how many attach at once. The verbs' and those of a node's pods have the machine to themselves, for
# some of them measure what it takes, and how soon a pod is known. Of the others the long ones begin first; they attach in
# their own process, where the lab bounds nothing.
TEST  := $(GO) test -timeout 30m
ALONE := ktrace/cmd/internal/live ktrace/cmd/ktrace
LONG  := ktrace/tracer ktrace/tracer/node ktrace/tracer/kube
test: deps ## install what the tests need and run them all (as root)
	testdata/leakcheck sh -c '$(TEST) -p 4 -parallel 4 $(LONG) $(filter-out $(ALONE) $(LONG),$(shell $(GO) list $(PKGS))); others=$$?; $(TEST) -p 1 -parallel 16 $(ALONE) && exit $$others'

attack: deps ## what a pod, a file or a user without privileges may try, as live tests (as root)
	$(TEST) -count=1 -p 1 -run '^TestAttack' $(PKGS)

soak: deps ## what needs the machine to itself: millions of packets past ktrace and tcpdump (as root)
	KTRACE_SOAK=1 $(GO) test -count=1 -v -timeout 10m -run AtFullSpeed ./cmd/ktrace

# What ktrace costs the traffic that it watches, beside tcpdump; only an idle machine gives figures worth keeping.
BENCH ?= -rounds 9
bench: deps build ## measure what ktrace costs, and write docs/benchmarks.md and .json (12 minutes, as root)
	$(GO) test -count=1 -v -timeout 1h ./testdata/bench -args -- -ktrace $(CURDIR)/ktrace $(BENCH) \
		-json $(CURDIR)/docs/benchmarks.json -markdown $(CURDIR)/docs/benchmarks.md

# KTRACE_CLUSTER is a kubeconfig; NODE_NAME this node, if the cluster has several.
test-cluster: ## what a real cluster says of its node against what ktrace knows; KTRACE_CLUSTER=kubeconfig (as root, on the node)
	$(GO) test -count=1 -v -run RealCluster ./tracer/kube

# What any file may take, and mutants of files for 10 minutes: nightly. .ci/run reads mutants for one.
MUTATE ?= 10m
mutate: ## read mutants of recordings and captures for MUTATE, and files made to take much memory or time
	KTRACE_MUTATE=$(MUTATE) $(GO) test -count=1 -v -timeout 1h -run 'ReadsMutants|ReadsKnownMutants' ./cmd/ktrace
	KTRACE_BOMBS=1 $(GO) test -count=1 -v -timeout 1h -parallel 1 -run AnyFileIsReadInBounds ./cmd/ktrace

fuzz: ## run every fuzz target for FUZZTIME
	@for f in $$(git grep -lE '^func Fuzz' -- '*_test.go'); do for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/p' $$f); do \
		$(GO) test -run '^$$' -fuzz "^$$t$$" -fuzztime $(FUZZTIME) ./$$(dirname $$f) || exit 1; done; done

demo: DEPS = $(DEMODEPS)
demo: deps build ## break a small network of namespaces and see ktrace name the fault (as root)
	testdata/demo.sh

records: deps build ## record anew what the golden outputs are made of (as root, after a change of the records)
	testdata/records.sh

golden: ## rewrite the golden outputs from what the code prints now
	$(GO) test ./cmd/ktrace -run 'Golden|Readme' -update

capabilities: deps ## rewrite README's table of the capabilities of each verb, as this kernel needs them (as root)
	$(GO) test ./cmd/ktrace -count=1 -run TestREADMENamesTheCapabilities -update

clean: ## remove what was built
	rm -f ktrace
