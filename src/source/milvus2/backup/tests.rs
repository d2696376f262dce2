//! Values of a backup's metadata.

use super::*;

#[test]
fn defaults_are_read_in_each_of_their_spellings() {
    let field = |json: &str| {
        let field: OfField = serde_json::from_str(json).unwrap();
        default(&field)
    };
    let seven = ValueField {
        long_data: Some(7),
        ..ValueField::default()
    };
    for json in [
        r#"{"default_value": {"Data": {"LongData": 7}}}"#,
        r#"{"default_value_base64": "GAc="}"#,
        r#"{"default_value_proto": "\u0018\u0007"}"#,
    ] {
        assert_eq!(field(json), Ok(Some(seven.clone())), "{json}");
    }
    assert_eq!(field("{}"), Ok(None));
    assert_eq!(
        field(r#"{"default_value": {"Data": {"BytesData": "x"}}}"#),
        Err(())
    );
    assert_eq!(field(r#"{"default_value_base64": "*"}"#), Err(()));
    assert_eq!(decoded("aGVsbG8="), Some(b"hello".to_vec()));
}
