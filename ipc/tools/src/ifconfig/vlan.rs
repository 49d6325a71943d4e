//! The words of a VLAN: FreeBSD's and NetBSD's.

use proto::Vlan;
use proto::table::InterfaceRow;

/// What the words after an interface's name say of its VLAN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VlanWords {
    parent: Option<String>,
    id: Option<u16>,
    priority: Option<u8>,
    service: Option<bool>,
    off: bool,
}

/// The words.
pub(super) const WORDS: [&str; 8] =
    ["vlan", "vlanif", "vlandev", "-vlanif", "-vlandev", "vlanpcp", "vlanprio", "vlanproto"];

impl VlanWords {
    /// Takes a word up. `false`: it is another's.
    pub(super) fn take<'a>(
        &mut self,
        word: &str,
        mut argument: impl FnMut() -> Result<&'a str, String>,
    ) -> Result<bool, String> {
        match word {
            "vlan" => {
                let text = argument()?;
                let id = text.parse().ok().filter(|id| (1..=4094).contains(id));
                self.id = Some(
                    id.ok_or_else(|| format!("vlan {text:?} is not a number from 1 to 4094"))?,
                );
            }
            "vlanif" | "vlandev" => self.parent = Some(argument()?.into()),
            "-vlanif" | "-vlandev" => self.off = true,
            "vlanpcp" | "vlanprio" => {
                let text = argument()?;
                let priority = text.parse().ok().filter(|priority| *priority <= 7);
                let wrong = || format!("{word} {text:?} is not a number from 0 to 7");
                self.priority = Some(priority.ok_or_else(wrong)?);
            }
            "vlanproto" => {
                self.service = Some(match argument()?.to_ascii_lowercase().as_str() {
                    "802.1q" => false,
                    "802.1ad" | "qinq" => true,
                    other => {
                        return Err(format!("vlanproto {other:?}: write 802.1q or 802.1ad"));
                    }
                });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Nothing was said.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is to be, over what is; `None`: no VLAN.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn over(&self, row: &InterfaceRow) -> Result<Option<Vlan>, String> {
        if self.off {
            return Ok(None);
        }
        let now = row.vlan.as_ref();
        let parent = self.parent.clone().or_else(|| now.map(|vlan| vlan.parent.clone()));
        let id = self.id.or_else(|| now.map(|vlan| vlan.id));
        let (Some(parent), Some(id)) = (parent, id) else {
            return Err("a VLAN has a number and an interface, as in: vlan 5 vlanif tap0".into());
        };
        let priority = self.priority.or_else(|| now.map(|vlan| vlan.priority)).unwrap_or(0);
        let service = self.service.or_else(|| now.map(|vlan| vlan.service)).unwrap_or(false);
        Ok(Some(Vlan { parent, id, priority, service }))
    }
}

/// A line as FreeBSD's.
pub(super) fn line(vlan: &Vlan) -> String {
    let Vlan { parent, id, priority, service } = vlan;
    let kind = if *service { "802.1ad" } else { "802.1q" };
    let parent = crate::output::escape(parent);
    format!("\tvlan: {id} vlanproto: {kind} vlanpcp: {priority} parent interface: {parent}\n")
}
