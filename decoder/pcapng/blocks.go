// SPDX-License-Identifier: Apache-2.0

package pcapng

// Statistics is what an interface counted, usually found at the end of the section.
type Statistics struct {
	Interface *Interface
	Time      int64   // nanoseconds since 1970 UTC
	Options   Options // StatReceived and its like, by Uint64 and AddUint64
}

const statisticsFixed = 12 // interface, time

// Statistics decodes a block of type BlockStatistics.
func (b *Block) Statistics() (Statistics, error) {
	if b.Type != BlockStatistics {
		return Statistics{}, b.wrong("statistics block")
	}
	body, err := b.body(statisticsFixed)
	if err != nil {
		return Statistics{}, err
	}
	i, err := b.interfaceAt(b.Order.uint32(body))
	if err != nil {
		return Statistics{}, err
	}
	return Statistics{i, i.clock.nanos(b.Order.uint32Pair(body[4:])), b.options(statisticsFixed)}, nil
}

// When returns StatStart or StatEnd in nanoseconds since 1970 UTC.
func (s *Statistics) When(code OptionCode) (int64, bool) {
	opt, ok := s.Options.Find(code)
	if !ok || len(opt.Value) != 8 {
		return 0, false
	}
	return s.Interface.clock.nanos(opt.order.uint32Pair(opt.Value)), true
}

// AddWhen appends StatStart or StatEnd in the unit of the interface.
func (s *Statistics) AddWhen(code OptionCode, t int64) error {
	ticks, err := s.Interface.clock.ticks(t)
	if err != nil {
		return err
	}
	at := s.Options.begin(code)
	s.Options.raw = s.Options.order.append32Pair(s.Options.raw, ticks)
	s.Options.finish(at)
	return nil
}

// Secrets are the keys that decrypt packets behind them.
type Secrets struct {
	Type    uint32
	Data    []byte
	Options Options
}

// SecretsTLS is the type of a TLS key log as browsers write it.
const SecretsTLS uint32 = 0x544c534b

const secretsFixed = 8 // type, length

// Secrets decodes a block of type BlockSecrets. Data aliases the block.
func (b *Block) Secrets() (Secrets, error) {
	if b.Type != BlockSecrets {
		return Secrets{}, b.wrong("secrets block")
	}
	body, err := b.body(secretsFixed)
	if err != nil {
		return Secrets{}, err
	}
	length := b.Order.uint32(body[4:])
	if uint64(length) > uint64(len(body)-secretsFixed) {
		return Secrets{}, b.malformed("%d bytes of secrets, %d are there", length, len(body)-secretsFixed)
	}
	end := secretsFixed + int(length)
	return Secrets{b.Order.uint32(body), body[secretsFixed:end:end], b.options(align(end))}, nil
}

// CustomBlock decodes a block of type BlockCustom or BlockCustomNoCopy. Its data goes to the end of
// the block, padding and options included: only who defined it knows where they begin.
func (b *Block) CustomBlock() (Custom, error) {
	if b.Type != BlockCustom && b.Type != BlockCustomNoCopy {
		return Custom{}, b.wrong("custom block")
	}
	body, err := b.body(4)
	if err != nil {
		return Custom{}, err
	}
	return Custom{Enterprise: b.Order.uint32(body), Data: body[4:], Copy: b.Type == BlockCustom}, nil
}
