package main

import (
	"testing"
	"testing/synctest"
	"time"

	"karuta"
)

func TestAStartAtNightIsRejectedWithARetryTime(t *testing.T) {
	// In the bubble the clock starts at midnight UTC on 2000-01-01.
	synctest.Test(t, func(t *testing.T) {
		karuta.Host = karuta.NewHost()
		listed := karuta.InfoHash{0xb9, 0x4a}
		karuta.Host.Sources = []karuta.Source{
			{Name: "listed", Format: "info-hashes", InfoHashes: map[karuta.InfoHash]bool{listed: true}},
		}
		from := "listed"
		policy, err := create(config{From: "22:00", To: "06:00", TorrentsFrom: &from}, karuta.Context{})
		if err != nil {
			t.Fatal(err)
		}
		start := karuta.Announce{InfoHash: listed, Event: karuta.Started}
		if verdict := policy.OnAnnounce(start); verdict != karuta.Reject || *karuta.Host.RetryIn != 6*time.Hour {
			t.Errorf("%v %v", verdict, karuta.Host.RetryIn)
		}
		if karuta.Host.Failure != "quiet hours until 06:00 UTC" {
			t.Error(karuta.Host.Failure)
		}
		if verdict := policy.OnAnnounce(karuta.Announce{Event: karuta.Started}); verdict != karuta.Next {
			t.Errorf("not listed: %v", verdict)
		}
		time.Sleep(6 * time.Hour)
		if verdict := policy.OnAnnounce(start); verdict != karuta.Next {
			t.Errorf("by day: %v", verdict)
		}
	})
}
