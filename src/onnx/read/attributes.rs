//! The attributes of a node.

use std::collections::HashMap;

use super::weights::attribute_tensor;
use crate::onnx::Tensor;
use crate::onnx::op;
use crate::onnx::proto::AttributeProto;
use crate::onnx::proto::attribute_proto::AttributeType;

/// Attributes by name. [`Attributes::check`] says whether they are what an operator may have; reading one that has another
/// type gives `None`.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    values: HashMap<String, Attribute>,
}

#[derive(Clone, Debug)]
enum Attribute {
    Float(f32),
    Int(i64),
    Text(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Tensor(Tensor),
    /// A graph, or something else that no operator read here takes.
    Other(&'static str),
}

/// The type of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Float,
    Int,
    Text,
    Ints,
    Floats,
    Tensor,
}

impl Attribute {
    fn kind(&self) -> Option<Kind> {
        match self {
            Attribute::Float(_) => Some(Kind::Float),
            Attribute::Int(_) => Some(Kind::Int),
            Attribute::Text(_) => Some(Kind::Text),
            Attribute::Ints(_) => Some(Kind::Ints),
            Attribute::Floats(_) => Some(Kind::Floats),
            Attribute::Tensor(_) => Some(Kind::Tensor),
            Attribute::Other(_) => None,
        }
    }
}

impl Attributes {
    /// Fails for an attribute that is not among these, or has another type: it may change what is computed.
    pub fn check(&self, allowed: &[(&str, Kind)]) -> Result<(), String> {
        let mut names: Vec<&String> = self.values.keys().collect();
        names.sort_unstable();
        for name in names {
            let Some((_, kind)) = allowed.iter().find(|(known, _)| known == name) else {
                return Err(format!("has the attribute '{name}', which is not known of it"));
            };
            if self.values[name].kind() != Some(*kind) {
                return Err(format!("has the attribute '{name}', which is not of the type {kind:?}"));
            }
        }
        Ok(())
    }

    /// Reads attributes; those that name an attribute of the calling function are looked up in `outer`.
    pub fn read(protos: &[AttributeProto], outer: &Attributes) -> Result<Self, String> {
        let mut values = HashMap::new();
        for proto in protos {
            let name = proto.name().to_owned();
            if !proto.ref_attr_name().is_empty() {
                // An attribute the caller left out is left out here too.
                if let Some(value) = outer.values.get(proto.ref_attr_name()) {
                    values.insert(name, value.clone());
                }
                continue;
            }
            let value = match proto.r#type() {
                AttributeType::Float => Attribute::Float(proto.f()),
                AttributeType::Int => Attribute::Int(proto.i()),
                AttributeType::String => Attribute::Text(String::from_utf8_lossy(proto.s()).into_owned()),
                AttributeType::Ints => Attribute::Ints(proto.ints.clone()),
                AttributeType::Floats => Attribute::Floats(proto.floats.clone()),
                AttributeType::Tensor => {
                    let tensor = proto.t.as_ref().ok_or_else(|| format!("has no tensor in its attribute '{name}'"))?;
                    let tensor = attribute_tensor(tensor)
                        .map_err(|problem| format!("has the attribute '{name}', which {problem}"))?;
                    Attribute::Tensor(tensor)
                }
                other => Attribute::Other(other.as_str_name()),
            };
            if values.insert(name, value).is_some() {
                return Err(format!("has the attribute '{}' twice", proto.name()));
            }
        }
        Ok(Attributes { values })
    }

    #[cfg(test)]
    pub fn of_ints(name: &str, values: &[i64]) -> Self {
        Attributes { values: HashMap::from([(name.to_owned(), Attribute::Ints(values.to_vec()))]) }
    }

    #[cfg(test)]
    pub fn of_text(name: &str, value: &str) -> Self {
        Attributes { values: HashMap::from([(name.to_owned(), Attribute::Text(value.to_owned()))]) }
    }

    /// The same with values for what is left out.
    pub fn or_defaults(mut self, defaults: &Attributes) -> Self {
        for (name, value) in &defaults.values {
            self.values.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self
    }

    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub fn int(&self, name: &str) -> Option<i64> {
        if let Some(Attribute::Int(value)) = self.values.get(name) { Some(*value) } else { None }
    }

    pub fn float(&self, name: &str) -> Option<f64> {
        if let Some(Attribute::Float(value)) = self.values.get(name) { Some(f64::from(*value)) } else { None }
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        if let Some(Attribute::Text(value)) = self.values.get(name) { Some(value) } else { None }
    }

    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        if let Some(Attribute::Ints(value)) = self.values.get(name) { Some(value) } else { None }
    }

    pub fn floats(&self, name: &str) -> Option<&[f32]> {
        if let Some(Attribute::Floats(value)) = self.values.get(name) { Some(value) } else { None }
    }

    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        if let Some(Attribute::Tensor(value)) = self.values.get(name) { Some(value) } else { None }
    }

    /// The attributes of an operator that is carried through, by name.
    pub fn carried(&self) -> Vec<(&str, op::Attribute)> {
        let mut found: Vec<(&str, op::Attribute)> = Vec::new();
        for (name, value) in &self.values {
            let value = match value {
                Attribute::Float(value) => op::Attribute::Float(op::Real::new(f64::from(*value))),
                Attribute::Int(value) => op::Attribute::Int(*value),
                Attribute::Text(value) => op::Attribute::Text(value.clone()),
                Attribute::Ints(values) => op::Attribute::Ints(values.clone()),
                // No operator that is carried through has such a one.
                Attribute::Floats(_) | Attribute::Tensor(_) | Attribute::Other(_) => continue,
            };
            found.push((name, value));
        }
        found.sort_by_key(|(name, _)| *name);
        found
    }

    /// An attribute that is a graph: the node is control flow.
    pub fn graph(&self) -> Option<&str> {
        let mut graphs = self.values.iter().filter(|(_, value)| matches!(value, Attribute::Other("GRAPH" | "GRAPHS")));
        graphs.next().map(|(name, _)| name.as_str())
    }
}
