//go:build wasm

// Package export_karuta_policy_scrape_filter has the functions that the generated bindings call.
package export_karuta_policy_scrape_filter

import (
	"karuta"
	"karuta/bindings/karuta_policy_types"
)

var policy = karuta.Hook[karuta.ScrapeFilter]("scrape-filter")

// OnScrape decides on one info-hash of a scrape.
func OnScrape(scrape karuta_policy_types.Scrape) karuta_policy_types.Verdict {
	return uint8(policy().OnScrape(karuta.ScrapeOf(scrape)))
}
