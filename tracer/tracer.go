// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/tracer/boot"
	"ktrace/tracer/host"
	"ktrace/tracer/probe"
	"ktrace/tracer/ring"
)

const (
	ringName = "events"
	wokenMap = "woken" // when user space was last woken for a record

	defaultRing = 8 << 20                // bytes; a hop takes about 200
	idleTick    = 100 * time.Millisecond // how late a timeout is noticed on a quiet node
	countsEvery = time.Second
	pollAtLast  = 10 * time.Second
)

// Maps that all objects which have them share: the namespaces that they announced, and who called connect or listen.
const (
	netnsIDs = "netns_ids"
	owners   = "owners"
)

// sharesMap is how much each owner holds of the maps that anyone can fill.
const sharesMap = "shares"

// Options say what to load.
type Options struct {
	Probes    []string        // names from the table
	Unwanted  []string        // names of hooks not to attach
	Optional  []string        // probes whose required hooks may fail to attach
	Variant   string          // if set, the only variant to try of hooks that have it
	BTF       string          // file with the types of this kernel; "" asks the kernel itself
	RingBytes uint32          // a power of two and whole pages; 0 takes the default
	Globals   []probe.Globals // values of the objects' const volatile variables
	Shared    []string        // maps that all objects share, beside the ring
	// Splice changes the objects before they are loaded: it inserts the user's filter.
	Splice func(*ebpf.CollectionSpec) error
	// Prepare is called once the maps are there and before any program runs.
	Prepare func(probe.Maps) error
	// Attach is called after all hooks are attached, with the programs that user space attaches to devices. What it
	// returns is closed when the probes are detached.
	Attach func(probe.Programs) (io.Closer, error)
	// Begin returns the facts that the stream starts with; Poll those that come every second and at the end.
	Begin func() ([]event.Fact, error)
	Poll  func(probe.Maps) ([]event.Fact, error)
	// Iterate is how often iterators run, beside the start and the end; 0 takes a default. They take a small part of the time at most.
	Iterate time.Duration
}

// Tracer is a set of attached probes and the ring that they write to. It is a decoder.Frames.
type Tracer struct {
	opts    Options
	types   types
	objects []*object
	ring    *ring.Reader
	sample  []byte   // the buffer of the record that was read last
	queue   [][]byte // facts that go before the next record
	polled  time.Time
	losses  *losses
	shares  *ebpf.Memory // of sharesMap; nil if no object has it

	iterated iterations

	clock   time.Duration // since boot: no record that is still to come is older, but for what one takes to be written
	stopped bool
	whole   time.Duration         // since boot: when everything was attached
	early   map[event.Kind]uint64 // records of packets before whole
}

// Open loads and attaches the probes. Close detaches them. Errors are ErrNoVariant, joined with every variant's error, if no
// variant of a required hook works; NoTypesError if there is no BTF of this kernel; host.ErrMemlock if that limit is too low
// and cannot be raised; UnknownNameError if the options have a name that does not exist.
func Open(o Options) (*Tracer, error) {
	if err := o.checkNames(); err != nil {
		return nil, err
	}
	if o.RingBytes == 0 {
		o.RingBytes = defaultRing
	}
	// Before 5.11 maps count against the memlock limit, which cannot be raised without CAP_SYS_RESOURCE. Whether it is
	// too low shows when the maps are created.
	limit := host.LiftMemlock()
	types, err := kernelTypes(o.BTF)
	if err != nil {
		return nil, err
	}
	t := &Tracer{opts: o, types: types, early: map[event.Kind]uint64{}}
	if err := t.load(); err != nil {
		return nil, errors.Join(explain(err, limit), t.Close())
	}
	return t, nil
}

// explain adds the likely reason and the remedy to a kernel's error. limit is what host.LiftMemlock returned.
func explain(err, limit error) error {
	err = host.ExplainMemlock(err, limit)
	if errors.Is(err, ErrNoVariant) {
		err = host.ExplainLockdown(err)
	}
	return host.ExplainSELinux(err)
}

// Privileged checks before anything is attached that the process has the capabilities that these probes need. Errors are
// host.MissingCapabilities and host.ErrUserNamespace.
func Privileged(probes ...string) error {
	var needed []string
	for _, p := range probe.All() {
		if p.AtDevices && slices.Contains(probes, p.Name) {
			needed = append(needed, host.NetAdmin)
		}
	}
	return host.Privileged(needed...)
}

func (t *Tracer) load() error {
	shared := map[string]*ebpf.Map{ringName: nil, wokenMap: nil, lossesMap: nil, probe.DNSBackends: nil, netnsIDs: nil, owners: nil, sharesMap: nil}
	for _, name := range t.opts.Shared {
		shared[name] = nil
	}
	globals := append(slices.Clone(t.opts.Globals), probe.OwnersKept(t.remembers()))
	run := common{types: t.types, globals: globals, shared: shared, ring: t.opts.RingBytes, splice: t.opts.Splice}
	var specs []*ebpf.CollectionSpec
	for _, p := range probe.All() {
		if !slices.Contains(t.opts.Probes, p.Name) {
			continue
		}
		o, err := run.load(p)
		if err != nil {
			return err
		}
		t.objects = append(t.objects, o)
		specs = append(specs, o.spec)
	}
	if err := probe.UnusedGlobals(t.opts.Globals, specs...); err != nil {
		return err
	}
	var err error
	if t.losses, err = newLosses(shared[lossesMap]); err != nil {
		return err
	}
	if m := shared[sharesMap]; m != nil {
		if t.shares, err = m.Memory(); err != nil {
			return fmt.Errorf("shares: %w", err)
		}
	}
	if t.opts.Prepare != nil {
		if err := t.opts.Prepare(t.Map); err != nil {
			return err
		}
	}
	for _, o := range t.objects {
		err := o.attach(t.opts.Variant, t.opts.Unwanted)
		if err != nil && !slices.Contains(t.opts.Optional, o.probe.Name) {
			return err
		}
	}
	if err := t.attachDevices(); err != nil {
		return err
	}
	t.whole = boot.Now()
	t.clock = t.whole
	node, err := nodeFact(t.types.Spec)
	if err != nil {
		return err
	}
	if err := t.forget(); err != nil {
		return err
	}
	if t.ring, err = ring.NewReader(shared[ringName]); err != nil { // last, for what is mapped counts as resident
		return fmt.Errorf("ring: %w", err)
	}
	return t.begin(node)
}

// remembers reports whether the sock object is to remember who connects.
func (t *Tracer) remembers() bool {
	return slices.Contains(t.opts.Probes, probe.Sock) && !slices.Contains(t.opts.Unwanted, probe.HookTCPState)
}

func (t *Tracer) attachDevices() error {
	if t.opts.Attach == nil {
		return nil
	}
	held, err := t.opts.Attach(t.program)
	if held != nil {
		t.objects[0].links = append(t.objects[0].links, held)
	}
	return err
}

// program implements Programs.
func (t *Tracer) program(probe, name string) *ebpf.Program {
	for _, o := range t.objects {
		if o.probe.Name == probe {
			return o.programs[name]
		}
	}
	return nil
}

// Waiting reports whether the ring holds records that were not read yet.
func (t *Tracer) Waiting() bool { return t.ring != nil && t.ring.Waiting() }

// begin emits what the stream starts with.
func (t *Tracer) begin(node *event.Node) error {
	node.Verdicts = t.serves(probe.HookVerdict)
	node.Watched = slices.Contains(t.opts.Probes, probe.Path) && slices.Contains(t.opts.Probes, probe.Tap)
	facts := []event.Fact{{Node: node}}
	if t.opts.Begin != nil {
		more, err := t.opts.Begin()
		if err != nil {
			return err
		}
		facts = append(facts, more...)
	}
	t.polled = time.Now()
	if err := t.Emit(facts...); err != nil {
		return err
	}
	return t.iterate()
}

// Map implements Maps.
func (t *Tracer) Map(probe, name string) *ebpf.Map {
	for _, o := range t.objects {
		if o.probe.Name == probe {
			return o.maps[name]
		}
	}
	return nil
}

// serves reports whether a variant of a hook is attached.
func (t *Tracer) serves(hook string) bool {
	return slices.ContainsFunc(t.Hooks(), func(x HookStatus) bool { return x.Hook.Name == hook && x.Variant != nil })
}

// Hooks returns the status of every hook.
func (t *Tracer) Hooks() []HookStatus {
	var all []HookStatus
	for _, o := range t.objects {
		all = append(all, o.status...)
	}
	return all
}

// Emit puts facts into the stream before the next record, at the time that the stream has come to.
func (t *Tracer) Emit(facts ...event.Fact) error {
	t.advance()
	lost, err := t.losses.until(t.clock, t.skipped)
	if err != nil {
		return err
	}
	return t.enqueue(append(lost, facts...))
}

func (t *Tracer) enqueue(facts []event.Fact) error {
	for _, f := range facts {
		raw, err := event.EncodeFact(t.clock, f)
		if err != nil {
			return err
		}
		t.queue = append(t.queue, raw)
	}
	return nil
}

// advance sets the clock to now if the ring is empty: then all that was written before is read. It must not run ahead of
// records, or what they show would seem to be missing.
func (t *Tracer) advance() {
	now := boot.Now() // before the ring is looked at: the process may be stopped in between
	if !t.Waiting() {
		t.clock = now
	}
}

// skipped is how often a program of any object did not run.
func (t *Tracer) skipped() (n uint64) {
	for _, o := range t.objects {
		n += o.skipped()
	}
	return n
}

// Next implements decoder.Frames. When ctx ends, or its deadline passes, it detaches the probes, delivers what they
// had already written, then the last facts, then io.EOF. On a quiet node it returns ticks.
func (t *Tracer) Next(ctx context.Context) ([]byte, error) {
	for {
		if ctx.Err() != nil && !t.stopped {
			if err := t.stop(); err != nil {
				return nil, err
			}
		}
		if len(t.queue) > 0 {
			raw := t.queue[0]
			t.queue = t.queue[1:]
			return raw, nil
		}
		if !t.stopped && t.pollDue() {
			if err := t.poll(); err != nil {
				return nil, err
			}
			continue
		}
		raw, err := t.read(ctx)
		if raw != nil || err != nil {
			return raw, err
		}
	}
}

// pollDue reports whether it is time for the facts of every second. The records in the ring are delivered first, for they are
// older; with a ring that is never empty, for pollAtLast at most.
func (t *Tracer) pollDue() bool {
	age := time.Since(t.polled)
	return age >= pollAtLast || age >= countsEvery && !t.Waiting()
}

// read returns the next record of the ring, a tick if none comes soon, or nil if the state changed.
func (t *Tracer) read(ctx context.Context) ([]byte, error) {
	if t.ring == nil {
		return nil, io.EOF
	}
	if t.stopped && !t.Waiting() {
		return nil, t.last()
	}
	patience := idleTick
	if t.stopped { // the context has ended; what is reserved is about to be written
		ctx, patience = context.WithoutCancel(ctx), 0
	}
	sample, err := t.ring.Next(ctx, t.sample, time.Now().Add(patience))
	if err == nil {
		t.sample = sample
	}
	raw, _ := event.CutRecord(sample) // the sample is all that was reserved, used or not
	switch {
	case err == nil && event.RecordTime(raw) < t.whole && event.OfPacket(raw):
		t.early[event.KindOf(raw)]++ // seen by some hooks before others were attached, so its end may look like a loss
		return nil, nil
	case err == nil:
		return t.deliver(raw)
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil && !t.stopped:
		return nil, t.tick()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, nil
	default:
		return nil, fmt.Errorf("ring: %w", err)
	}
}

// deliver returns a record, or nil if losses up to its time go before it.
func (t *Tracer) deliver(raw []byte) ([]byte, error) {
	at := event.RecordTime(raw)
	lost, err := t.losses.until(at, t.skipped)
	if err != nil {
		return nil, err
	}
	if len(lost) > 0 {
		err = t.enqueue(lost)
		t.queue = append(t.queue, bytes.Clone(raw))
		raw = nil
	}
	t.clock = max(t.clock, at)
	return raw, err
}

// tick emits that time went by, if the ring is still empty: the process may have been stopped since it was.
func (t *Tracer) tick() error {
	if t.Waiting() {
		return nil
	}
	return t.Emit(event.Fact{})
}

// stop runs the iterators and detaches everything; what is in the ring can still be read. A program that was detached may still run, and have counted
// what it has not sent: the counters are read when none does.
func (t *Tracer) stop() error {
	t.stopped = true
	err := errors.Join(t.iterate(), detachAll(t.objects))
	awaitPrograms()
	return err
}

// awaitPrograms waits until no program runs that was detached: for a grace period of RCU, which is what membarrier(2) does with
// MEMBARRIER_CMD_GLOBAL (4.16, and since 4.3 by another name). A kernel without it only makes a wrong count less likely.
func awaitPrograms() {
	const global = 1
	_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, global, 0, 0)
}

// last queues the final facts once the ring is empty.
func (t *Tracer) last() error {
	err := errors.Join(t.poll(), t.ring.Close())
	t.ring = nil
	return err
}

func (t *Tracer) poll() error {
	t.polled = time.Now()
	if !t.stopped && t.iterated.due(t.opts.Iterate) {
		if err := t.iterate(); err != nil {
			return err
		}
	}
	if t.opts.Poll != nil {
		facts, err := t.opts.Poll(t.Map)
		if err != nil {
			return err
		}
		if err := t.Emit(facts...); err != nil {
			return err
		}
	}
	books, err := t.flowBooks()
	if err != nil {
		return err
	}
	if books != nil {
		if err := t.Emit(event.Fact{FlowBooks: books}); err != nil {
			return err
		}
	}
	c, err := t.counts()
	if err != nil {
		return err
	}
	return t.Emit(event.Fact{Counts: &c})
}

// counts adds up the counters of all objects and CPUs.
func (t *Tracer) counts() (event.Counts, error) {
	c := event.Counts{Final: t.ring != nil && t.stopped}
	for kind, n := range t.early {
		c.OfKind(kind, event.Counts{Filtered: n})
	}
	for _, o := range t.objects {
		c.OfKind("", event.Counts{Seen: o.skipped(), Lost: event.Losses{Map: o.skipped()}})
		for kind := range o.maps[probe.CountsMap].MaxEntries() {
			k, err := probe.KindCounts(o.maps[probe.CountsMap], kind)
			if err != nil {
				return c, fmt.Errorf("%s: %w", o.probe.Name, err)
			}
			c.OfKind(event.KindOfRecord(int(kind)), k)
		}
	}
	var err error
	c.Refused, err = refusedShares(t.shares)
	return c, err
}

// Close detaches and frees everything.
func (t *Tracer) Close() error {
	var errs []error
	if t.ring != nil {
		errs = append(errs, t.ring.Close())
	}
	errs = append(errs, detachAll(t.objects))
	for _, o := range t.objects {
		errs = append(errs, o.close())
	}
	t.objects = nil
	return errors.Join(errs...)
}
