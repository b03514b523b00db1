//! What the guest of `xtask qemu` lacks: programs that some tests start, files that they read.
//!
//! *Invariant*: nothing is left out in silence, nor under a name that no test has any more.

use crate::Outcome;
use crate::job::Job;

/// Tests of a target that need something which the guest does not have: it, and they.
const NEEDS: &[(&str, &str, &[&str])] = &[
    ("lib", "copy of the repository", &["sys::steer::tests::snapshots::programs_read_as_before"]),
    (
        "tls",
        "openssl",
        &[
            "keys::a_server_that_asks_to_renegotiate_is_told_no",
            "keys::openssl_s_server_updates_keys",
            "keys::openssl_updates_keys_and_asks_us_to",
            "keys::renegotiation_is_refused",
            "peers::openssl_s_client_is_echoed",
            "peers::openssl_s_server_answers",
            "peers::openssl_s_server_sends_a_large_file",
            "resume::openssl_s_client_resumes_at_our_server",
            "resume::our_client_resumes_at_openssl_s_server",
            "trust::openssl_s_server_asks_for_our_certificate",
            "trust::openssl_shows_its_certificate_or_is_refused",
            "upgrade::openssl_asks_for_starttls",
            "upgrade::we_ask_for_starttls_before_openssl_s_server",
        ],
    ),
    (
        "tls",
        "gnutls-bin",
        &[
            "keys::gnutls_rekeys",
            "peers::gnutls_cli_is_echoed",
            "peers::gnutls_serv_echoes",
            "resume::gnutls_cli_resumes_at_our_server",
        ],
    ),
    (
        "tls",
        "curl",
        &["peers::curl_gets_an_answer", "peers::curl_refuses_a_certificate_and_we_are_told_why"],
    ),
    (
        "tls",
        "python3",
        &[
            "peers::pythons_client_is_echoed",
            "peers::pythons_server_echoes",
            "upgrade::pythons_smtplib_asks_for_starttls",
        ],
    ),
    (
        "proxy",
        "haproxy",
        &[
            "draining::a_shutdown_is_seen_by_haproxy_in_the_grace",
            "haproxy::haproxy_speaks_version_1",
            "haproxy::haproxy_speaks_version_2",
        ],
    ),
    ("http", "curl", &["peers::curl_reuses_its_connection", "sealed::https_is_http_behind_tls"]),
    ("http", "nginx", &["corpus::nginx_beside_it"]),
    ("http", "python3", &["peers::python_sends_every_kind_of_body"]),
    ("http", "wrk", &["peers::wrk_finds_no_error"]),
];

/// What tells the test binary to leave out what the guest cannot run; each is named in the log.
pub(crate) fn skips(target: &str, path: &str) -> Outcome<Vec<String>> {
    let mut words = Vec::new();
    let needing: Vec<_> = NEEDS.iter().filter(|(of, ..)| *of == target).collect();
    if needing.is_empty() {
        return Ok(words);
    }
    let listed = Job::new(path, &["--list"]).run()?.good()?;
    for (_, what, tests) in needing {
        for test in *tests {
            if !listed.lines.iter().any(|line| line.strip_suffix(": test") == Some(test)) {
                return Err(format!("{target} has no test `{test}`: NEEDS is out of date"));
            }
            println!("not in the guest, which has no {what}: {test}");
            words.extend(["--skip".to_string(), (*test).to_string()]);
        }
    }
    Ok(words)
}
