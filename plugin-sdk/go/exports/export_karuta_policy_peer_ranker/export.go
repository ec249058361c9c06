//go:build wasm

// Package export_karuta_policy_peer_ranker has the functions that the generated bindings call.
package export_karuta_policy_peer_ranker

import (
	"net/netip"
	"time"

	"karuta"
	"karuta/bindings/karuta_policy_peer_ranker"
	"karuta/bindings/karuta_policy_types"
)

var policy = karuta.Hook[karuta.PeerRanker]("peer-ranker")

// Rank orders the peers of an answer.
func Rank(announce karuta_policy_types.Announce, candidates []karuta_policy_peer_ranker.Candidate) []uint32 {
	peers := make([]karuta.Candidate, len(candidates))
	for at, candidate := range candidates {
		peers[at] = karuta.Candidate{
			Address: netip.AddrPortFrom(karuta.AddressOf(candidate.Address), candidate.Port),
			Seeder:  candidate.Seeder,
			Label:   candidate.Label,
			Age:     time.Duration(candidate.AgeSeconds) * time.Second,
		}
	}
	return policy().Rank(karuta.AnnounceOf(announce), peers)
}
