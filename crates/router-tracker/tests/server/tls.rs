//! `wss://`, and certificates that cannot be used.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use circlet_tracker::{Limits, ServeError, TlsError, Tracker};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::client::{Client, Who, builder, soon};

/// Writes a certificate for localhost and its key; returns the certificate.
fn certificate(dir: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_string()]).unwrap();
    fs::write(dir.join("cert.pem"), cert.pem()).unwrap();
    fs::write(dir.join("key.pem"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

async fn error(cert: &Path, key: &Path) -> TlsError {
    match builder().tls(cert, key).serve().await {
        Err(ServeError::Tls(error)) => {
            let text = error.to_string();
            let names = |path: &Path| text.contains(&path.display().to_string());
            assert!(names(cert) || names(key), "{text}");
            assert!(!text.contains('\n'), "{text}");
            error
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_makes_it_wss() {
    let dir = tempfile::tempdir().unwrap();
    let cert = certificate(dir.path());
    let tracker = builder()
        .tls(dir.path().join("cert.pem"), dir.path().join("key.pem"))
        .serve()
        .await
        .unwrap();
    assert!(tracker.url().starts_with("wss://127.0.0.1:"));

    let mut client = connect(&tracker, cert).await;
    assert_eq!(client.login(&Who::new(1)).await.0, 1);
    client.settle().await;
    tracker.shutdown().await;
    client.last_words().await;
}

#[tokio::test]
async fn handshakes_are_bounded_in_time_and_number() {
    let dir = tempfile::tempdir().unwrap();
    let cert = certificate(dir.path());
    let limits = Limits {
        handshakes: 1,
        head_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let tracker = builder()
        .tls(dir.path().join("cert.pem"), dir.path().join("key.pem"))
        .limits(limits)
        .serve()
        .await
        .unwrap();
    let addr = tracker.local_addr();
    let start = Instant::now();
    let mut silent = TcpStream::connect(addr).await.unwrap();
    // Accepted after it, and there is no room for two.
    let mut second = TcpStream::connect(addr).await.unwrap();
    let mut rest = Vec::new();
    let _ = soon(second.read_to_end(&mut rest)).await;
    let _ = soon(silent.read_to_end(&mut rest)).await;
    assert!(rest.is_empty() && start.elapsed() >= Duration::from_secs(1));

    // One that begins and stops.
    let mut begun = TcpStream::connect(addr).await.unwrap();
    begun.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let _ = soon(begun.read_to_end(&mut rest)).await;
    // One that speaks something else.
    let mut plain = TcpStream::connect(addr).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let _ = soon(plain.read_to_end(&mut rest)).await;

    let mut client = connect(&tracker, cert.clone()).await;
    client.login(&Who::new(1)).await;
    let mut monitor = Box::pin(secured(&tracker, cert)).await;
    let request = b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n";
    monitor.write_all(request).await.unwrap();
    let mut metrics = String::new();
    soon(monitor.read_to_string(&mut metrics)).await.unwrap();
    for line in [
        "handshakes_busy_total 1\n",
        "handshakes_timed_out_total 2\n",
        "handshakes_failed_total 1\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    client.settle().await;
}

async fn secured(tracker: &Tracker, cert: CertificateDer<'static>) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(cert).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(tracker.local_addr()).await.unwrap();
    let name = "localhost".try_into().unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, stream))
        .await
        .unwrap()
}

async fn connect(tracker: &Tracker, cert: CertificateDer<'static>) -> Client<TlsStream<TcpStream>> {
    let stream = secured(tracker, cert).await;
    Box::pin(Client::over(stream, &tracker.url())).await
}

#[tokio::test]
async fn unusable_files_are_clear_errors() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let missing = dir.path().join("missing.pem");
    assert!(matches!(
        error(&missing, &key).await,
        TlsError::Read { path, .. } if path == missing
    ));
    assert!(matches!(
        error(&cert, &missing).await,
        TlsError::Read { path, .. } if path == missing
    ));
    assert!(matches!(
        error(&key, &key).await,
        TlsError::NoCertificate { .. }
    ));
    assert!(matches!(error(&cert, &cert).await, TlsError::NoKey { .. }));

    let broken = dir.path().join("broken.pem");
    fs::write(&broken, "-----BEGIN CERTIFICATE-----\n!!\n").unwrap();
    assert!(matches!(error(&broken, &key).await, TlsError::Pem { .. }));

    let other = tempfile::tempdir().unwrap();
    certificate(other.path());
    assert!(matches!(
        error(&cert, &other.path().join("key.pem")).await,
        TlsError::Unusable { .. }
    ));
}
