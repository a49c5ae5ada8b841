// SPDX-License-Identifier: Apache-2.0

package pcapng

import "iter"

// HashAlgorithm says how a packet was hashed.
type HashAlgorithm uint8

// Algorithms of hashes.
const (
	HashComplement HashAlgorithm = 0
	HashXOR        HashAlgorithm = 1
	HashCRC32      HashAlgorithm = 2 // four bytes
	HashMD5        HashAlgorithm = 3
	HashSHA1       HashAlgorithm = 4
	HashToeplitz   HashAlgorithm = 5 // four bytes, what network cards spread flows over queues by
)

// Hash is a hash of a packet.
type Hash struct {
	Algorithm HashAlgorithm
	Sum       []byte
}

// Hashes yields the hashes of the packet, in order.
func (p *Packet) Hashes() iter.Seq[Hash] {
	return func(yield func(Hash) bool) {
		for opt := range p.Options.All() {
			if opt.Code != PacketHash || len(opt.Value) == 0 {
				continue
			}
			if !yield(Hash{HashAlgorithm(opt.Value[0]), opt.Value[1:]}) {
				return
			}
		}
	}
}

// AddHash appends a hash of the packet.
func (o *Options) AddHash(h Hash) {
	at := o.begin(PacketHash)
	o.raw = append(append(o.raw, byte(h.Algorithm)), h.Sum...)
	o.finish(at)
}
