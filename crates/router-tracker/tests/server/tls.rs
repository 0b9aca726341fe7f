//! `wss://`, and certificates that cannot be used.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use circlet_tracker::{ServeError, TlsError};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
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

    let mut roots = RootCertStore::empty();
    roots.add(cert).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(tracker.local_addr()).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let stream = soon(TlsConnector::from(Arc::new(config)).connect(name, stream))
        .await
        .unwrap();
    let mut client = Box::pin(Client::over(stream, &tracker.url())).await;
    assert_eq!(client.login(&Who::new(1)).await.0, 1);
    client.settle().await;
    tracker.shutdown().await;
    client.last_words().await;
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
