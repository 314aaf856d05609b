//! What `nft list ruleset` shows of others that stand in the way.

/// A base chain that sees what comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BaseChain {
    /// Family and name, `inet firewalld`.
    pub(super) table: String,
    /// Its name.
    pub(super) chain: String,
    /// `input`, `prerouting` or `ingress`.
    pub(super) hook: String,
    /// Whether what matches no rule is dropped.
    pub(super) policy_drop: bool,
    /// Its rules, as shown.
    pub(super) rules: Vec<String>,
    /// The rules of the chains of its table that it leads to, whatever the condition.
    pub(super) beyond: Vec<String>,
}

/// A chain as shown.
struct Chain {
    table: String,
    name: String,
    rules: Vec<String>,
}

const HOOKS: [&str; 3] = ["input", "prerouting", "ingress"];

/// Base chains at the hooks of incoming packets, in tables other than `own`.
pub(super) fn foreign_chains(ruleset: &str, own: &str) -> Vec<BaseChain> {
    let mut chains: Vec<Chain> = Vec::new();
    let mut table = String::new();
    let mut chain: Option<(String, Vec<String>)> = None;
    for line in ruleset.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("table ").and_then(|rest| rest.strip_suffix(" {")) {
            name.clone_into(&mut table);
        } else if let Some(name) = line.strip_prefix("chain ").and_then(|rest| rest.strip_suffix(" {")) {
            chain = Some((name.to_owned(), Vec::new()));
        } else if line == "}" {
            let ended = chain.take().map(|(name, rules)| Chain { table: table.clone(), name, rules });
            chains.extend(ended);
        } else if let Some((_, rules)) = &mut chain {
            rules.push(line.to_owned());
        }
    }
    let others: Vec<&Chain> = chains.iter().filter(|chain| chain.table != own).collect();
    others.iter().filter_map(|chain| base_chain(chain, &others)).collect()
}

fn base_chain(chain: &Chain, all: &[&Chain]) -> Option<BaseChain> {
    let mut rules = chain.rules.clone();
    let at = rules.iter().position(|rule| rule.starts_with("type ") && rule.contains(" hook "))?;
    let head = rules.remove(at);
    let hook = head.split_whitespace().skip_while(|&word| word != "hook").nth(1)?.to_owned();
    if !HOOKS.contains(&hook.as_str()) {
        return None;
    }
    Some(BaseChain {
        table: chain.table.clone(),
        chain: chain.name.clone(),
        hook,
        policy_drop: head.contains("policy drop"),
        rules,
        beyond: beyond(chain, all),
    })
}

/// Rules of every chain that `from` leads to, each once.
fn beyond(from: &Chain, all: &[&Chain]) -> Vec<String> {
    let (mut reached, mut at): (Vec<&Chain>, usize) = (vec![from], 0);
    while let Some(chain) = reached.get(at) {
        let leads_to = |other: &&&Chain| {
            let leads = |rule: &String| {
                let words: Vec<&str> = words_of(rule).collect();
                words.windows(2).any(|pair| ["jump", "goto"].contains(&pair[0]) && pair[1] == other.name)
            };
            other.table == chain.table && chain.rules.iter().any(leads)
        };
        let next: Vec<&Chain> = all.iter().filter(leads_to).copied().collect();
        for other in next {
            if !reached.iter().any(|known| known.name == other.name) {
                reached.push(other);
            }
        }
        at += 1;
    }
    reached.iter().skip(1).flat_map(|chain| chain.rules.iter().cloned()).collect()
}

fn words_of(rule: &str) -> impl Iterator<Item = &str> {
    rule.split(|c: char| c.is_whitespace() || ",{}".contains(c)).filter(|word| !word.is_empty())
}

impl BaseChain {
    /// Whether a rule seems to let the port through: names it, a range or a set around it is not
    /// understood and counts as a no.
    pub(super) fn accepts(&self, transport: &str, port: u16) -> bool {
        let port = port.to_string();
        self.rules.iter().chain(&self.beyond).any(|rule| {
            let words: Vec<&str> = words_of(rule).collect();
            let names_port =
                words.contains(&transport) && words.contains(&"dport") && words.contains(&port.as_str());
            let verdict = words.contains(&"accept") || words.contains(&"jump") || words.contains(&"goto");
            (names_port || words == ["accept"]) && verdict
        })
    }

    /// Whether it drops or rejects what nothing before let through.
    pub(super) fn drops_the_rest(&self) -> bool {
        let last = self.rules.iter().rev().find(|rule| !rule.starts_with("comment"));
        let unconditional = |rule: &String| {
            ["drop", "reject", "counter packets"].iter().any(|start| rule.starts_with(start))
                && (rule.contains("drop") || rule.contains("reject"))
        };
        self.policy_drop || last.is_some_and(unconditional)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULESET: &str = "table inet postern {\n\tchain input {\n\t\ttype filter hook input priority filter - 10; policy accept;\n\t}\n}\n\
        table inet site {\n\tset x {\n\t\ttype inet_service\n\t}\n\tchain in {\n\t\ttype filter hook input priority filter; policy drop;\n\
        \t\ttcp dport { 22, 502 } accept\n\t}\n\tchain other {\n\t\tdrop\n\t}\n\tchain out {\n\t\ttype filter hook output priority 0; policy drop;\n\t}\n}\n";

    #[test]
    fn what_a_chain_leads_to_counts() {
        let ruleset = "table inet firewalld {\n\tchain filter_INPUT {\n\t\ttype filter hook input priority filter + 10; policy \
            accept;\n\t\tjump ZONES\n\t\treject with icmpx admin-prohibited\n\t}\n\tchain ZONES {\n\t\tiifname \"eth0\" goto public\n\t}\n\
            \tchain public {\n\t\tjump ZONES\n\t\ttcp dport 22 accept\n\t}\n\tchain other {\n\t\ttcp dport 23 accept\n\t}\n}\n\
            table inet another {\n\tchain public {\n\t\ttcp dport 24 accept\n\t}\n}\n";
        let chains = foreign_chains(ruleset, "inet postern");
        let [chain] = chains.as_slice() else { panic!("{chains:?}") };
        assert!(chain.drops_the_rest() && chain.accepts("tcp", 22));
        assert!(!chain.accepts("tcp", 23) && !chain.accepts("tcp", 24) && !chain.accepts("udp", 22));
    }

    #[test]
    fn only_base_chains_of_others_count() {
        let chains = foreign_chains(RULESET, "inet postern");
        assert_eq!(chains.len(), 1, "{chains:?}");
        assert_eq!((chains[0].table.as_str(), chains[0].chain.as_str()), ("inet site", "in"));
        assert!(chains[0].drops_the_rest());
        assert!(
            chains[0].accepts("tcp", 502) && !chains[0].accepts("udp", 502) && !chains[0].accepts("tcp", 23)
        );
    }
}
