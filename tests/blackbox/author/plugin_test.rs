//! `karuta plugin test` and its files of cases.

use std::fs;
use std::process::Output;

use karuta_tests::root;
use tempfile::TempDir;

use super::plugin_tools::{fine, plugin, with_cases, wrong};

/// Runs the cases of a folder.
fn test(folder: &TempDir, component: &str) -> Output {
    plugin(&["test", &format!("{component}.wasm")], folder.path())
}

#[test]
fn cases_that_agree_pass() {
    let folder = with_cases(
        "torrent-approval",
        "
config: { allow_from: approved, scrapes: hide }
data:
  approved: { format: info-hashes, lines: [a94a8fe5ccb19ba61c4c0873d391e987982fbbd3, '# none'] }
cases:
  - name: approved
    announce: { info_hash: a94a8fe5ccb19ba61c4c0873d391e987982fbbd3 }
    expect: next
  - name: another
    announce: { info_hash: A94A8FE5CCB19BA61C4C0873D391E987982FBBD4, transport: udp }
    expect: { verdict: reject, failure: unapproved torrent, retry_in: null, warning: null }
  - name: the list changes
    calls:
      - scrape: {}
        expect: { hidden: true }
      - data: { approved: { text: \"6b61727574612d746573742d746f7272656e742d\\n\" } }
        scrape: { info_hash: 6b61727574612d746573742d746f7272656e742d }
        expect: { verdict: next, hidden: false }
      - data: { approved: { lines: [short] } }
        refused: \"line 1: `short`\"
  - name: a list that is not there
    data: {}
    refused: no data source `approved`
",
    );
    let said = fine(&test(&folder, "torrent-approval"));
    assert_eq!(
        said,
        "ok    approved\nok    another\nok    the list changes\nok    a list that is not there\n\
         torrent-approval: all 4 cases passed\n"
    );
}

#[test]
fn each_case_has_its_own_clock_and_key_values() {
    let folder = with_cases(
        "test-tally",
        "
keyvalues: { left: here }
cases:
  - name: counts
    calls:
      - announce: {}
        expect: { verdict: next, warning: '1', keyvalues: { announces: '1', left: here, nothing: null } }
      - after: 10m
        announce: {}
        expect: { warning: '2' }
  - name: knows nothing of other cases
    announce: {}
    expect: { warning: '1' }
",
    );
    fine(&test(&folder, "test-tally"));
}

#[test]
fn differences_are_shown_and_written_for_junit() {
    let folder = with_cases(
        "client-approval",
        "config: { deny: [-XL] }
cases:
  - name: lets others in
    announce: { peer_id: -TR4050- }
    expect: next
  - name: \"lets <Xunlei> in\"
    announce: { peer_id: -XL0012-abc }
    expect: { verdict: next, failure: null }
  - name: refuses nonsense
    config: { deny: 7 }
    refused: something else
",
    );
    let output = plugin(
        &["test", "client-approval.wasm", "cases.yaml", "--junit", "out.xml"],
        folder.path(),
    );
    let (code, said) = wrong(&output);
    assert_eq!((code, &*said), (1, "karuta: client-approval: 2 of 3 cases failed"));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        shown.starts_with(
            "ok    lets others in\n\
             FAIL  lets <Xunlei> in (cases.yaml:6:5)\n      \
             verdict: expected \"next\", got \"reject\"\n      \
             failure: expected nothing, got \"unapproved client\"\n\
             FAIL  refuses nonsense (cases.yaml:9:5)\n      \
             refused: expected \"something else\", got \"deny: "
        ),
        "{shown}"
    );
    let report = fs::read_to_string(folder.path().join("out.xml")).unwrap();
    assert!(
        report.contains("<testsuite name=\"client-approval\" tests=\"3\" failures=\"2\" "),
        "{report}"
    );
    assert!(report.contains("name=\"lets &lt;Xunlei&gt; in\""), "{report}");
    assert!(
        report.contains(
            "<failure message=\"verdict: expected &quot;next&quot;, got &quot;reject&quot;\">"
        ),
        "{report}"
    );
}

#[test]
fn files_of_cases_are_strict() {
    for (cases, expected) in [
        ("cases: []\n", "cases.yaml:1:8: cases: no cases, expected at least one"),
        (
            "cases:\n  - nam: x\n",
            "cases.yaml:2:5: cases[0]: unknown key `nam`, did you mean `name`?",
        ),
        (
            "cases:\n  - name: x\n",
            "cases.yaml:2:5: cases[0]: nothing to do, expected one of `announce`, `scrape`, `rank`, \
             `observe` and `tick`, or `calls`, or `refused`",
        ),
        (
            "cases:\n  - name: x\n    announce: { info_hash: ab }\n",
            "cases.yaml:3:28: cases[0].announce.info_hash: invalid info-hash `ab`, expected 40 \
             hexadecimal digits",
        ),
        (
            "clock: noon\ncases:\n  - name: x\n    announce: {}\n",
            "cases.yaml:1:8: clock: invalid time `noon`, expected a UTC time such as \
             2026-01-31T22:30:00Z",
        ),
        (
            "cases:\n  - name: x\n    announce: {}\n    expect: { verdict: maybe }\n",
            "cases.yaml:4:24: cases[0].expect.verdict: unknown value `maybe`, expected one of next, \
             accept, reject, drop",
        ),
        (
            "cases:\n  - name: x\n    scrape: {}\n    calls: [{ scrape: {} }]\n",
            "cases.yaml:2:5: cases[0]: both its own call and `calls`, expected one of them",
        ),
        (
            "cases:\n  - name: x\n    calls: [{ tick: {}, scrape: {} }]\n",
            "cases.yaml:3:13: cases[0].calls[0]: more than one of `announce`, `scrape`, `rank`, \
             `observe` and `tick`, expected one",
        ),
        (
            "cases:\n  - name: x\n    tick: {}\n    expect: next\n",
            "cases.yaml:2:5: cases[0]: only `announce` and `scrape` have a verdict",
        ),
        ("cases:\n  - name: x\n    observe: some\n", "cases.yaml:3:14: cases[0].observe: "),
        (
            "cases:\n  - name: x\n    observe: [{ announce: { prot: 1 } }]\n",
            "cases.yaml:3:29: cases[0].observe[0].announce: unknown key `prot`, expected one of ",
        ),
        ("cases: {\n", "cases.yaml:2:1: "),
    ] {
        let folder = with_cases("client-approval", cases);
        let (code, said) = wrong(&test(&folder, "client-approval"));
        assert_eq!(code, 2, "{said}");
        assert!(said.starts_with(&format!("karuta: {expected}")), "{said}\n{expected}");
    }
}

#[test]
fn accounts_can_be_tested() {
    let folder = with_cases(
        "test-tally",
        "
cases:
  - name: a member
    announce:
      query: { ask: account }
      account: { member: { id: 7, leech: false, here: 2 }, torrent: { id: 12, download_percent: 0, token: true } }
    expect:
      credit: [200, 50]
      warning: Some((7, 2, Rights(ENABLED | VISIBLE))) Some((12, Marks(APPROVED | FREE | TOKEN)))
  - name: a stranger
    announce: { query: { ask: account } }
    expect: { warning: None None }
  - name: one who does not ask
    announce: { account: { member: { leach: false } } }
",
    );
    let (_, said) = wrong(&test(&folder, "test-tally"));
    assert!(said.contains("unknown key `leach`, did you mean `leech`?"), "{said}");
    let cases = folder.path().join("cases.yaml");
    let text = fs::read_to_string(&cases).unwrap().replace("leach: false", "leech: false");
    fs::write(&cases, text + "    expect: { credit: null }\n").unwrap();
    assert!(fine(&test(&folder, "test-tally")).contains("all 3 cases passed"));
}

#[test]
fn an_order_of_peers_can_be_tested() {
    let cases = fs::read_to_string(root().join("tests/plugins/ranker/cases.yaml")).unwrap();
    let said = fine(&test(&with_cases("test-ranker", &cases), "test-ranker"));
    assert!(said.ends_with("test-ranker: all 5 cases passed\n"), "{said}");

    let folder = with_cases(
        "test-ranker",
        "
cases:
  - name: strangers
    rank: { announce: { query: { order: garbage } }, candidates: [{ peer: '192.0.2.1:1' }] }
    expect: { ranking: ['192.0.2.1:1'] }
  - name: a tick
    tick: {}
",
    );
    let output = test(&folder, "test-ranker");
    let shown = String::from_utf8_lossy(&output.stdout);
    let peer = "\"192.0.2.1:1\"";
    for line in [
        format!("ranking: expected [{peer}], got [4294967295,{peer},{peer},100000,{peer}]"),
        "it exports no ticker".to_owned(),
    ] {
        assert!(shown.contains(&format!("\n      {line}\n")), "{line}\n{shown}");
    }
}

#[test]
fn observers_ticks_and_publications_can_be_tested() {
    let folder = with_cases(
        "test-control",
        "
config: { tick: [{ fetch: { url: 'http://a.example/list' } }, { publish: { name: list, text: new } }] }
credential: ['query:key']
cases:
  - name: an observer is told what became of announces, and what has changed since
    calls:
      - observe:
          - announce: { port: 1, event: started, uploaded: 5, query: { key: k }, attributes: { a: b } }
            verdict: reject
            decided_by: jwt
        expect:
          keyvalues:
            outcomes: '1'
            port-1: >-
              {\"attributes\":[[\"a\",\"b\"]],\"credential\":\"k\",\"decided_by\":\"jwt\",\"down\":0,\"known\":false,\"port\":1,\"up\":0,\"verdict\":\"Reject\"}
      - after: 10m
        observe: [{ announce: { port: 1, uploaded: 12 } }]
        expect:
          keyvalues:
            port-1: >-
              {\"attributes\":[],\"credential\":null,\"decided_by\":null,\"down\":0,\"known\":false,\"port\":1,\"up\":0,\"verdict\":\"Next\"}
      - after: 10m
        observe: [{ announce: { port: 1, uploaded: 19 } }]
        expect:
          keyvalues:
            port-1: >-
              {\"attributes\":[],\"credential\":null,\"decided_by\":null,\"down\":0,\"known\":true,\"port\":1,\"up\":7,\"verdict\":\"Next\"}
      - observe: again
        expect: { keyvalues: { offers: '4', outcomes: '4', instances: '1' } }
  - name: a tick fetches and publishes
    http: { 'http://a.example/list': { status: 404, body: none } }
    calls:
      - announce: { query: { show: published } }
        expect: { warning: '' }
      - tick: {}
        expect:
          keyvalues: { found: '404 none|published' }
          published: { list: new }
          requests: [{ method: GET, url: 'http://a.example/list', body: '' }]
      - announce: { query: { show: published } }
        expect: { warning: list 1 new }
  - name: other servers do not answer
    tick: {}
    expect:
      keyvalues:
        found: 'error: http://a.example/list is not in `allow.http`: this trial has no answer|published'
  - name: a publication may be refused
    config: { tick: [{ publish: { name: list, text: bad } }] }
    calls:
      - tick: {}
        expect: { error: 'what was published is refused: list: it is bad', published: { list: bad } }
      - announce: { query: { show: published } }
        expect: { warning: '' }
  - name: another instance follows on one that trapped
    config: { observe: trap, tick: [fail] }
    calls:
      - observe: [{}]
        expect: { error: trap, keyvalues: { offers: '1', instances: '1' } }
      - tick: {}
        expect: { keyvalues: { found: 'error: it fails', instances: '2' } }
  - name: an observer may report an error
    config: { observe: fail }
    observe: [{}]
    expect: { error: it fails }
",
    );
    let said = fine(&test(&folder, "test-control"));
    assert!(said.ends_with("test-control: all 6 cases passed\n"), "{said}");
}

#[test]
fn requests_that_differ_are_shown() {
    let folder = with_cases(
        "test-control",
        "
config: { tick: [{ post: { url: 'http://a.example/', body: text } }] }
cases:
  - name: a post
    tick: {}
    expect: { requests: [{ method: GET, body: ex }], published: { a: b } }
",
    );
    let output = test(&folder, "test-control");
    let shown = String::from_utf8_lossy(&output.stdout);
    for line in [
        "published: expected {\"a\":\"b\"}, got {}",
        "requests: expected [{\"body\":\"ex\",\"method\":\"GET\"}], got [{\"body\":\"text\",\"headers\":\
         {\"content-type\":\"text/plain\"},\"method\":\"POST\",\"url\":\"http://a.example/\"}]",
    ] {
        assert!(shown.contains(&format!("\n      {line}\n")), "{line}\n{shown}");
    }
}
