//! A gateway that ran the stock fwknopd: its files are imported, its clients notice nothing.

use std::net::SocketAddr;
use std::process::Command;

use postern_e2e::controller::Controller;
use postern_e2e::keyring::Keyring;
use postern_e2e::probe::Session;
use postern_e2e::scene::SSH;
use postern_e2e::{Backend, Scene, Site, binaries, both_back_ends, process, tool};

both_back_ends!(clients_of_an_imported_fwknopd_go_on);

/// What `fwknop --key-gen` makes, by name.
fn key(generated: &str, name: &str) -> String {
    let line = generated.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {generated:?}")).trim().to_owned()
}

/// The site file made of both files.
fn import(keyring: &Keyring, backend: Backend, access: &str, server: &str) -> Site {
    let access = keyring.write("access.conf", access).unwrap();
    let server = keyring.write("fwknopd.conf", server).unwrap();
    let site = keyring.path("site.toml");
    let mut import = Command::new(binaries::path("postern").unwrap());
    import.args(["import", "--fwknop"]).args([access, server]).arg("--output").arg(&site);
    process::success(&mut import).unwrap();
    let text = std::fs::read_to_string(&site).unwrap();
    // The laboratory keeps its site files elsewhere.
    let keys = keyring.path("keys");
    let text = text.replace("\"keys/", &format!("\"{}/", keys.display()));
    Site::written(backend, text.replace("backend = \"iptables\"", &format!("backend = \"{backend}\"")))
}

fn clients_of_an_imported_fwknopd_go_on(backend: Backend) {
    tool::require(&["fwknop"]).unwrap();
    let keyring = Keyring::new().unwrap();
    let generated = process::success(Command::new("fwknop").args(["--no-rc-file", "--key-gen"])).unwrap();
    let (key, mac) = (key(&generated, "KEY_BASE64"), key(&generated, "HMAC_KEY_BASE64"));
    let access = format!(
        "# Two technicians.\nSOURCE ANY\nKEY_BASE64 {key}\nHMAC_KEY_BASE64 {mac}\nHMAC_DIGEST_TYPE SHA384\n\
         OPEN_PORTS tcp/22\nREQUIRE_USERNAME maria\nFW_ACCESS_TIMEOUT 60\n\n\
         SOURCE ANY\nKEY a-passphrase-of-otto\nHMAC_KEY another-passphrase-of-otto\nOPEN_PORTS tcp/22,tcp/502\n\n\
         SOURCE ANY\nKEY a-passphrase-of-paula\nHMAC_KEY another-passphrase-of-paula\nOPEN_PORTS tcp/10022\n\
         FORCE_NAT 192.168.10.5 22\n"
    );
    let server = "PCAP_INTF eth0;\nPCAP_FILTER udp port 62333;\nENABLE_DIGEST_PERSISTENCE Y;\n";
    let mut scene = Scene::set(&import(&keyring, backend, &access, server)).unwrap();
    let rc = format!(
        "[default]\nSPA_SERVER {}\nSPA_SERVER_PORT 62333\nALLOW_IP {}\nUSE_HMAC Y\n\n\
         [maria]\nACCESS tcp/22\nSPOOF_USER maria\nKEY_BASE64 {key}\nHMAC_KEY_BASE64 {mac}\n\
         HMAC_DIGEST_TYPE sha384\n\n\
         [otto]\nACCESS tcp/22,tcp/502\nKEY a-passphrase-of-otto\nHMAC_KEY another-passphrase-of-otto\n\n\
         [paula]\nACCESS tcp/10022\nKEY a-passphrase-of-paula\nHMAC_KEY another-passphrase-of-paula\n\n\
         [nat]\nACCESS tcp/22\nNAT_ACCESS 192.168.10.5\nNAT_PORT 10022\nKEY a-passphrase-of-paula\n\
         HMAC_KEY another-passphrase-of-paula\nFW_TIMEOUT 120\n",
        scene.gateway.v4, scene.client.v4
    );
    let rc = keyring.write("fwknoprc", &rc).unwrap();
    let knock = |scene: &Scene, stanza: &str| {
        let mut client = scene.client.namespace.command("fwknop").unwrap();
        client.arg("--rc-file").arg(&rc).args(["-n", stanza, "--no-save-args"]);
        process::success(&mut client).unwrap();
    };
    let web = SocketAddr::new(scene.gateway.v4.into(), 502);
    scene.expect_client_out(scene.ssh()).unwrap();
    knock(&scene, "maria");
    scene.expect_client_in(scene.ssh()).unwrap();
    scene.expect_client_out(web).unwrap();
    knock(&scene, "otto");
    scene.expect_client_in(web).unwrap();
    scene.expect_stranger_out(web).unwrap();

    // A controller behind the gateway, as access.conf forces it and as a client asks for it.
    let _controller = Controller::behind(&scene, &[SSH]).unwrap();
    let led = SocketAddr::new(scene.gateway.v4.into(), 10_022);
    for (stanza, extended) in [("paula", "extended=false"), ("nat", "extended=true")] {
        scene.expect_stranger_out(led).unwrap();
        let mark = scene.gate.log_mark();
        knock(&scene, stanza);
        let record = scene.gate.wait_for_log("door=tcp-10022", mark).unwrap();
        assert!(record.contains(extended), "{record}");
        let session = Session::get_in(&scene.client.namespace, None, led).unwrap();
        assert_eq!(session.greeting(), "hello from tcp/22");
    }
}
