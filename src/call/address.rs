//! Where is a server? Reads an address as people write it.

use http::Uri;

/// `http://host:port` or `https://host:port` from an address in a job. Scheme and port may be missing: `ports` are the
/// defaults without and with TLS.
///
/// Errors never repeat a password.
pub fn address(text: &str, tls: bool, ports: (u16, u16)) -> Result<String, String> {
    let text = text.trim();
    let full = match text.split_once("://") {
        Some(_) => text.to_owned(),
        None if tls => format!("https://{text}"),
        None => format!("http://{text}"),
    };
    if full.contains('@') {
        return Err("holds a login, which belongs in separate settings".to_owned());
    }
    let wrong = || {
        format!(
            "`{text}` is not an address such as http://127.0.0.1:{}",
            ports.0
        )
    };
    let uri: Uri = full.parse().map_err(|_| wrong())?;
    let host = uri.host().filter(|h| !h.is_empty()).ok_or_else(wrong)?;
    if !uri.path().trim_matches('/').is_empty() || uri.query().is_some() {
        return Err(wrong());
    }
    let scheme = match uri.scheme_str() {
        Some("http" | "tcp") if tls => {
            return Err(format!("`{text}` has http://, but `tls:` needs https://"));
        }
        Some("http" | "tcp") => "http",
        Some("https") => "https",
        _ => return Err(wrong()),
    };
    let authority = uri.authority().map_or("", |a| a.as_str());
    let port = match authority
        .strip_prefix(host)
        .and_then(|p| p.strip_prefix(':'))
    {
        Some(port) => port.parse().map_err(|_| wrong())?,
        None if scheme == "https" => ports.1,
        None => ports.0,
    };
    Ok(format!("{scheme}://{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_write_them() {
        let check = |text, tls, expected: &str| {
            assert_eq!(
                address(text, tls, (19530, 443)).unwrap(),
                expected,
                "{text}"
            );
        };
        check("127.0.0.1:19531", false, "http://127.0.0.1:19531");
        check(
            "http://milvus.example/",
            false,
            "http://milvus.example:19530",
        );
        check("tcp://h:1", false, "http://h:1");
        check("h:1", true, "https://h:1");
        check(
            "https://in03.zilliz.example",
            false,
            "https://in03.zilliz.example:443",
        );
        check("http://[::1]:19530", false, "http://[::1]:19530");
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_a_password() {
        for text in ["", "http://", "ftp://h", "h:99999", "http://h/path", "a b"] {
            assert!(address(text, false, (1, 1)).is_err(), "{text}");
        }
        assert!(
            address("http://h:1", true, (1, 1))
                .unwrap_err()
                .contains("https://")
        );
        let said = address("http://root:hunter2@h:1", false, (1, 1)).unwrap_err();
        assert!(!said.contains("hunter2"), "{said}");
    }
}
