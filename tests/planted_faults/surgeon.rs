//! Changing one thing in a graph file.

use gim_harness::onnx::proto::tensor_proto::DataType;
use gim_harness::onnx::proto::{GraphProto, ModelProto, NodeProto, TensorProto};
use prost::Message as _;

/// A graph under the knife. What is looked for must be there, or the fault would not be planted.
pub struct Surgeon {
    model: ModelProto,
    made: usize,
}

impl Surgeon {
    pub fn new(bytes: &[u8]) -> Self {
        Surgeon { model: ModelProto::decode(bytes).unwrap(), made: 0 }
    }

    pub fn finish(self) -> Vec<u8> {
        self.model.encode_to_vec()
    }

    pub fn graph(&mut self) -> &mut GraphProto {
        self.model.graph.as_mut().unwrap()
    }

    pub fn nodes(&self) -> &[NodeProto] {
        &self.model.graph.as_ref().unwrap().node
    }

    pub fn node(&mut self, at: usize) -> &mut NodeProto {
        &mut self.graph().node[at]
    }

    /// What makes a value.
    pub fn maker(&self, name: &str) -> Option<&NodeProto> {
        self.nodes().iter().find(|node| node.output[0] == name)
    }

    fn number(&self, name: &str) -> Option<f32> {
        let tensors = &self.model.graph.as_ref().unwrap().initializer;
        let tensor = tensors.iter().find(|tensor| tensor.name() == name)?;
        Some(f32::from_le_bytes(tensor.raw_data().try_into().ok()?))
    }

    /// Whether a value has this name, is this number, or is made by an operator of this kind; with `~`, one of its
    /// inputs.
    fn is(&self, name: &str, what: &str) -> bool {
        if let Some(what) = what.strip_prefix('~') {
            return self.maker(name).is_some_and(|node| node.input.iter().any(|input| self.is(input, what)));
        }
        let number = what.parse::<f32>().ok();
        name == what
            || self.maker(name).is_some_and(|node| node.op_type() == what)
            || number.is_some_and(|number| self.number(name) == Some(number))
    }

    /// The places of the operators of a scope that have such an input.
    pub fn all(&self, scope: &str, operator: &str, with: &str) -> Vec<usize> {
        let fits = |node: &NodeProto| {
            node.op_type() == operator
                && node.name().rsplit_once('/').is_some_and(|(own, _)| own == scope)
                && (with.is_empty() || node.input.iter().any(|input| self.is(input, with)))
        };
        (0..self.nodes().len()).filter(|&at| fits(&self.nodes()[at])).collect()
    }

    pub fn nth(&self, scope: &str, operator: &str, with: &str, n: usize) -> usize {
        let all = self.all(scope, operator, with);
        *all.get(n).unwrap_or_else(|| panic!("no {operator} with {with} in {scope}, of number {n}"))
    }

    pub fn find(&self, scope: &str, operator: &str, with: &str) -> usize {
        self.nth(scope, operator, with, 0)
    }

    /// The operator does nothing any more but hand on one of its inputs.
    pub fn keep(&mut self, at: usize, side: usize) {
        let node = self.node(at);
        node.op_type = Some("Identity".to_owned());
        node.input = vec![node.input[side].clone()];
        node.attribute.clear();
    }

    pub fn rename(&mut self, at: usize, operator: &str) {
        self.node(at).op_type = Some(operator.to_owned());
    }

    pub fn input(&self, at: usize, side: usize) -> String {
        self.nodes()[at].input[side].clone()
    }

    pub fn set_input(&mut self, at: usize, side: usize, name: &str) {
        name.clone_into(&mut self.node(at).input[side]);
    }

    /// Which input of an operator has this name or maker.
    pub fn side(&self, at: usize, what: &str) -> usize {
        self.nodes()[at].input.iter().position(|input| self.is(input, what)).unwrap()
    }

    fn tensor(&mut self, dims: &[i64], kind: DataType, bytes: Vec<u8>) -> String {
        self.made += 1;
        let name = format!("planted_{}", self.made);
        self.graph().initializer.push(TensorProto {
            dims: dims.to_vec(),
            data_type: Some(kind as i32),
            name: Some(name.clone()),
            raw_data: Some(bytes),
            ..TensorProto::default()
        });
        name
    }

    pub fn real(&mut self, number: f32) -> String {
        self.tensor(&[], DataType::Float, number.to_le_bytes().to_vec())
    }

    pub fn reals(&mut self, numbers: &[f32]) -> String {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.tensor(&[numbers.len() as i64], DataType::Float, bytes)
    }

    pub fn whole(&mut self, dims: &[i64], number: i64) -> String {
        self.tensor(dims, DataType::Int64, number.to_le_bytes().to_vec())
    }

    /// A new operator in front of a place.
    pub fn before(&mut self, at: usize, operator: &str, inputs: &[&str]) -> String {
        self.made += 1;
        let output = format!("planted_{}", self.made);
        let node = NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.clone()],
            name: Some(format!("planted/{operator}_{}", self.made)),
            op_type: Some(operator.to_owned()),
            ..NodeProto::default()
        };
        self.graph().node.insert(at, node);
        output
    }

    /// What an operator gives is changed by another one before anybody sees it.
    pub fn after(&mut self, at: usize, operator: &str, other: &str) {
        self.made += 1;
        let own = format!("planted_{}", self.made);
        let node = self.node(at);
        let output = std::mem::replace(&mut node.output[0], own.clone());
        let made = self.before(at + 1, operator, &[&own, other]);
        let node = self.graph().node.iter_mut().find(|node| node.output[0] == made).unwrap();
        node.output[0] = output;
    }
}
