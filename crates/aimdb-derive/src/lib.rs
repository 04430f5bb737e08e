//! The derive macro of AimDB: [`#[derive(RecordKey)]`](macro@RecordKey), for an enum whose variants name records.
//!
//! `aimdb` and `aimdb-core` re-export the macro with their feature `derive`. The generated code names `aimdb-core`, or the
//! facade `aimdb` if the program depends on that instead, under any name that its manifest gives them.

use std::collections::HashMap;

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, ExprLit, Fields, Ident, Lit, LitStr, Meta, Result,
    Variant,
};

/// Implements `aimdb_core::RecordKey` for an enum whose variants have no fields.
///
/// | attribute | on | |
/// |---|---|---|
/// | `#[key = "…"]` | each variant | required: the record's key |
/// | `#[key_prefix = "…"]` | the enum | optional: precedes every key |
/// | `#[link_address = "…"]` | a variant | optional: the result of `RecordKey::link_address` |
///
/// ```
/// use aimdb_core::RecordKey;
///
/// #[derive(Clone, Copy, RecordKey)]
/// #[key_prefix = "sensor."]
/// enum SensorKey {
///     #[key = "temp.indoor"]
///     #[link_address = "mqtt://sensors/temp/indoor"]
///     Indoor,
///     #[key = "temp.outdoor"]
///     Outdoor,
/// }
///
/// assert_eq!(SensorKey::Indoor.as_str(), "sensor.temp.indoor");
/// assert_eq!(SensorKey::Indoor.link_address(), Some("mqtt://sensors/temp/indoor"));
/// assert_eq!(SensorKey::Outdoor.link_address(), None);
/// ```
///
/// # Errors
///
/// A compile error for anything but an enum with variants, for a variant with fields or without a key, for an empty key, for
/// an attribute that appears twice or is not a string literal, and for two variants with the same key:
///
/// ```compile_fail
/// use aimdb_core::RecordKey;
///
/// #[derive(RecordKey)]
/// enum SensorKey {
///     #[key = "temp"]
///     Indoor,
///     #[key = "temp"]
///     Outdoor,
/// }
/// ```
#[proc_macro_derive(RecordKey, attributes(key, key_prefix, link_address))]
pub fn derive_record_key(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// A parsed variant.
struct KeyVariant<'v> {
    ident: &'v Ident,
    /// The key with the enum's prefix.
    key: String,
    link_address: Option<LitStr>,
}

fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new(input.span(), "RecordKey can be derived for enums only"));
    };
    if data.variants.is_empty() {
        return Err(Error::new(input.span(), "an enum without variants names no record"));
    }
    let prefix = text_attribute(&input.attrs, "key_prefix")?
        .map(|prefix| prefix.value())
        .unwrap_or_default();
    let variants = data.variants.iter();
    let keys =
        variants.map(|variant| parse_variant(variant, &prefix)).collect::<Result<Vec<_>>>()?;
    reject_duplicates(&keys)?;
    Ok(implement(input, &keys))
}

fn parse_variant<'v>(variant: &'v Variant, prefix: &str) -> Result<KeyVariant<'v>> {
    if !matches!(variant.fields, Fields::Unit) {
        return Err(Error::new(
            variant.fields.span(),
            "a record key is a name: this variant must have no fields",
        ));
    }
    let Some(key) = text_attribute(&variant.attrs, "key")? else {
        let hint = format!("add `#[key = \"…\"]` to `{}`", variant.ident);
        return Err(Error::new(variant.span(), hint));
    };
    if key.value().is_empty() {
        return Err(Error::new(key.span(), "a record key must not be empty"));
    }
    let link_address = text_attribute(&variant.attrs, "link_address")?;
    let key = format!("{prefix}{}", key.value());
    Ok(KeyVariant { ident: &variant.ident, key, link_address })
}

/// Returns the text of the attribute `#[name = "text"]`, which may appear at most once.
fn text_attribute(attributes: &[Attribute], name: &str) -> Result<Option<LitStr>> {
    let mut found = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident(name)) {
        if found.is_some() {
            return Err(Error::new(attribute.span(), format!("`#[{name} = \"…\"]` appears twice")));
        }
        found = Some(parse_text(attribute, name)?);
    }
    Ok(found)
}

fn parse_text(attribute: &Attribute, name: &str) -> Result<LitStr> {
    if let Meta::NameValue(pair) = &attribute.meta
        && let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &pair.value
    {
        return Ok(text.clone());
    }
    Err(Error::new(attribute.span(), format!("write `#[{name} = \"…\"]`, with a string literal")))
}

fn reject_duplicates(keys: &[KeyVariant<'_>]) -> Result<()> {
    let mut seen: HashMap<&str, &Ident> = HashMap::new();
    for key in keys {
        if let Some(first) = seen.insert(&key.key, key.ident) {
            let problem =
                format!("`{}` and `{first}` have the same key \"{}\"", key.ident, key.key);
            return Err(Error::new(key.ident.span(), problem));
        }
    }
    Ok(())
}

fn implement(input: &DeriveInput, keys: &[KeyVariant<'_>]) -> TokenStream {
    let core = core_path();
    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let idents = keys.iter().map(|key| key.ident);
    let texts = keys.iter().map(|key| &key.key);
    let linked = keys.iter().filter_map(|key| Some((key.ident, key.link_address.as_ref()?)));
    let links =
        linked.map(|(ident, link)| quote!(Self::#ident => ::core::option::Option::Some(#link),));
    quote! {
        impl #generics #core::RecordKey for #name #arguments #bounds {
            fn as_str(&self) -> &str {
                match self {
                    #(Self::#idents => #texts,)*
                }
            }

            fn link_address(&self) -> ::core::option::Option<&str> {
                #[allow(unreachable_patterns)]
                match self {
                    #(#links)*
                    _ => ::core::option::Option::None,
                }
            }
        }
    }
}

/// Returns the path of the engine in the user's crate: `aimdb-core`, or the facade `aimdb`, under the name in its manifest.
fn core_path() -> TokenStream {
    let path_to = |found: FoundCrate, own_name: &str| {
        let name = match found {
            FoundCrate::Name(name) => name,
            FoundCrate::Itself => own_name.into(),
        };
        let ident = Ident::new(&name, Span::call_site());
        quote!(::#ident)
    };
    match (crate_name("aimdb-core"), crate_name("aimdb")) {
        (Ok(found), _) => path_to(found, "aimdb_core"),
        (_, Ok(found)) => path_to(found, "aimdb"),
        _ => quote!(::aimdb_core),
    }
}

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctest;
