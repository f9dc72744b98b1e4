//! The names in an HDF5 group, read without looking at what they name.
//!
//! The reader's own listing opens every member and fails with the first that it does not know (a virtual data set,
//! say). This one is taken then, so that the others can still be listed.
//!
//! # References
//! The HDF Group, "HDF5 File Format Specification, version 3.0", III.A, III.B (old groups), IV.A.2.g (links), III.G
//! (dense links).

use hdf5_reader::error::Error as Fault;
use hdf5_reader::group::Group;
use hdf5_reader::io::Cursor;
use hdf5_reader::messages::{HdfMessage, link, link_info::LinkInfoMessage, symbol_table_msg::SymbolTableMessage};
use hdf5_reader::object_header::ObjectHeader;
use hdf5_reader::{btree_v1, btree_v2, fractal_heap, local_heap, symbol_table};

/// The names of all links of the group, whatever they lead to.
pub(crate) fn names(group: &Group) -> Result<Vec<String>, Fault> {
    Ok(addresses(group)?.into_iter().map(|(name, _)| name).collect())
}

/// The names with the addresses of their object headers; links that are not hard have none.
pub(crate) fn addresses(group: &Group) -> Result<Vec<(String, Option<u64>)>, Fault> {
    let (offset, length) = (group.offset_size(), group.length_size());
    let header = ObjectHeader::parse_at_storage(group.storage(), group.address(), offset, length)?;
    let mut names = Vec::new();
    for message in &header.messages {
        match message {
            HdfMessage::Link(link) => names.push((link.name.clone(), target(link))),
            HdfMessage::SymbolTable(table) => old(group, table, &mut names)?,
            HdfMessage::LinkInfo(info) => dense(group, info, &mut names)?,
            _ => {}
        }
    }
    Ok(names)
}

fn target(link: &link::LinkMessage) -> Option<u64> {
    match link.target {
        link::LinkTarget::Hard { address } => Some(address),
        _ => None,
    }
}

/// Groups of old files: a B-tree of nodes, each a table of at most 65535 symbols whose names stand in a heap.
fn old(group: &Group, table: &SymbolTableMessage, names: &mut Vec<(String, Option<u64>)>) -> Result<(), Fault> {
    let (storage, offset, length) = (group.storage(), group.offset_size(), group.length_size());
    let heap = local_heap::LocalHeap::parse_at_storage(storage, table.heap_address, offset, length)?;
    let leaves =
        btree_v1::collect_btree_v1_leaves_storage(storage, table.btree_address, offset, length, None, &[], None)?;
    for (_, address) in leaves {
        let head = storage.read_range(address, 8)?;
        let symbols = usize::from(u16::from_le_bytes([head[6], head[7]]));
        let node = storage.read_range(address, 8 + symbols * (2 * usize::from(offset) + 24))?;
        let node = symbol_table::SymbolTableNode::parse(&mut Cursor::new(&node), offset, length)?;
        for symbol in &node.entries {
            let name = heap.get_string_storage(symbol.link_name_offset, storage)?;
            names.push((name, Some(symbol.object_header_address)));
        }
    }
    Ok(())
}

/// Groups of many links: a B-tree of references to link messages in a heap.
fn dense(group: &Group, info: &LinkInfoMessage, names: &mut Vec<(String, Option<u64>)>) -> Result<(), Fault> {
    let (storage, offset, length) = (group.storage(), group.offset_size(), group.length_size());
    // All bits set in an address of `offset` bytes: there is no heap.
    if info.fractal_heap_address >= u64::MAX >> (64 - 8 * u32::from(offset.clamp(1, 8))) {
        return Ok(());
    }
    let heap = fractal_heap::FractalHeap::parse_at_storage(storage, info.fractal_heap_address, offset, length)?;
    let tree = btree_v2::BTreeV2Header::parse_at_storage(storage, info.btree_name_index_address, offset, length)?;
    let records = btree_v2::collect_btree_v2_records_storage(storage, &tree, offset, length, None, &[], None)?;
    for record in &records {
        if let btree_v2::BTreeV2Record::LinkNameHash { heap_id, .. } = record {
            let message = heap.get_object_storage(heap_id, storage, offset, length)?;
            let link = link::parse(&mut Cursor::new(&message), offset, length, message.len())?;
            let address = target(&link);
            names.push((link.name, address));
        }
    }
    Ok(())
}
