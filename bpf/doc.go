// Package bpf holds the kernel half: one C file a source of signals, and the Go that bpf2go makes of it.
// Nothing here is written by hand but this file and the C. "make generate" makes the rest anew; a plain
// build needs no clang, for the objects are committed.
package bpf

//go:generate go tool bpf2go -tags linux -target bpfel -cc clang -strip llvm-strip -cflags "-O2 -g -Wall -Werror -Iinclude" Cgroup cgroup.bpf.c
//go:generate go tool bpf2go -tags linux -target bpfel -cc clang -strip llvm-strip -cflags "-O2 -g -Wall -Werror -Iinclude" Path path.bpf.c
//go:generate go tool bpf2go -tags linux -target bpfel -cc clang -strip llvm-strip -cflags "-O2 -g -Wall -Werror -Iinclude" Netfilter netfilter.bpf.c
//go:generate go tool bpf2go -tags linux -target bpfel -cc clang -strip llvm-strip -cflags "-O2 -g -Wall -Werror -Iinclude" Sock sock.bpf.c
//go:generate go tool bpf2go -tags linux -target bpfel -cc clang -strip llvm-strip -cflags "-O2 -g -Wall -Werror -Iinclude" Fsync fsync.bpf.c
//go:generate go tool bpf2go -tags linux -target bpfel -cc clang -strip llvm-strip -cflags "-O2 -g -Wall -Werror -Iinclude" Tap tap.bpf.c
//go:generate go tool bpf2go -tags linux -target bpfel -cc clang -strip llvm-strip -cflags "-O2 -g -Wall -Werror -Iinclude" Tls tls.bpf.c
//go:generate go tool bpf2go -tags linux -target bpfel -cc clang -strip llvm-strip -cflags "-O2 -g -Wall -Werror -Iinclude" Dns dns.bpf.c
//go:generate go run ./gowire -out ../decoder/wire.go
