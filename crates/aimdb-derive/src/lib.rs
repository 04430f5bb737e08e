//! `#[derive(RecordKey)]`: an enum whose variants name records.
//!
//! ```text
//! #[derive(RecordKey)]
//! #[key_prefix = "sensor."]                    // optional, put before every key
//! enum SensorKey {
//!     #[key = "temp.indoor"]                   // required
//!     #[link_address = "mqtt://sensors/temp/indoor"] // optional, for RecordKey::link_address
//!     Indoor,
//! }
//! ```
//!
//! Keys are compared at compile time: two variants with one key, an empty key, a variant without a key or with fields
//! do not compile.

use std::collections::HashMap;

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, ExprLit, Fields, Ident, Lit, LitStr, Meta, Result,
    Variant,
};

/// Implements `aimdb_core::RecordKey`; the crate's own page shows the attributes.
#[proc_macro_derive(RecordKey, attributes(key, key_prefix, link_address))]
pub fn derive_record_key(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// One variant, read.
struct Key<'v> {
    ident: &'v Ident,
    text: String,
    link: Option<LitStr>,
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
    let keys =
        data.variants.iter().map(|variant| read(variant, &prefix)).collect::<Result<Vec<_>>>()?;
    refuse_duplicates(&keys)?;
    Ok(implement(input, &keys))
}

fn read<'v>(variant: &'v Variant, prefix: &str) -> Result<Key<'v>> {
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
    let link = text_attribute(&variant.attrs, "link_address")?;
    Ok(Key { ident: &variant.ident, text: format!("{prefix}{}", key.value()), link })
}

/// The text of `#[name = "text"]`, at most once.
fn text_attribute(attributes: &[Attribute], name: &str) -> Result<Option<LitStr>> {
    let mut found = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident(name)) {
        if found.is_some() {
            return Err(Error::new(
                attribute.span(),
                format!("`#[{name} = \"…\"]` stands here twice"),
            ));
        }
        found = Some(text_of(attribute, name)?);
    }
    Ok(found)
}

fn text_of(attribute: &Attribute, name: &str) -> Result<LitStr> {
    if let Meta::NameValue(pair) = &attribute.meta
        && let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &pair.value
    {
        return Ok(text.clone());
    }
    Err(Error::new(attribute.span(), format!("write `#[{name} = \"…\"]`, with a string literal")))
}

fn refuse_duplicates(keys: &[Key<'_>]) -> Result<()> {
    let mut seen: HashMap<&str, &Ident> = HashMap::new();
    for key in keys {
        if let Some(first) = seen.insert(&key.text, key.ident) {
            let problem =
                format!("`{}` and `{first}` have the same key \"{}\"", key.ident, key.text);
            return Err(Error::new(key.ident.span(), problem));
        }
    }
    Ok(())
}

fn implement(input: &DeriveInput, keys: &[Key<'_>]) -> TokenStream {
    let core = core_path();
    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let idents = keys.iter().map(|key| key.ident);
    let texts = keys.iter().map(|key| &key.text);
    let linked = keys.iter().filter_map(|key| Some((key.ident, key.link.as_ref()?)));
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

/// The engine under whichever name the user's crate has it: itself, or through the `aimdb` facade.
fn core_path() -> TokenStream {
    let named = |found: FoundCrate, own: &str| {
        let name = match found {
            FoundCrate::Name(name) => name,
            FoundCrate::Itself => own.into(),
        };
        let ident = Ident::new(&name, Span::call_site());
        quote!(::#ident)
    };
    match (crate_name("aimdb-core"), crate_name("aimdb")) {
        (Ok(found), _) => named(found, "aimdb_core"),
        (_, Ok(found)) => named(found, "aimdb"),
        _ => quote!(::aimdb_core),
    }
}
