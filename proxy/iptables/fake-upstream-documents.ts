// Restore documents that kube-proxy v1.36 writes for the inputs of examples.test.ts, as observed facts.

export const expected: Readonly<Record<number, string>> = {
  1: `*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-FIREWALL - [0:0]
-A KUBE-FIREWALL -m comment --comment "block incoming localnet connections" -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x004000/0x004000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-CDGGSHYLG3RE2FKL - [0:0]
:KUBE-SEP-AFGSLHOD2HFNCBX4 - [0:0]
:KUBE-SEP-2RIJ5GIYXEFH6G4D - [0:0]
-A KUBE-POSTROUTING -m mark ! --mark 0x004000/0x004000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x004000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x004000
-A KUBE-SERVICES -m comment --comment "default/web:http cluster IP" -m tcp -p tcp -d 10.96.0.50 --dport 80 -j KUBE-SVC-CDGGSHYLG3RE2FKL
-A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http cluster IP" -m tcp -p tcp -d 10.96.0.50 --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
-A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.1.5:8080" -m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-AFGSLHOD2HFNCBX4
-A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.2.7:8080" -j KUBE-SEP-2RIJ5GIYXEFH6G4D
-A KUBE-SEP-AFGSLHOD2HFNCBX4 -m comment --comment default/web:http -s 10.244.1.5 -j KUBE-MARK-MASQ
-A KUBE-SEP-AFGSLHOD2HFNCBX4 -m comment --comment default/web:http -m tcp -p tcp -j DNAT --to-destination 10.244.1.5:8080
-A KUBE-SEP-2RIJ5GIYXEFH6G4D -m comment --comment default/web:http -s 10.244.2.7 -j KUBE-MARK-MASQ
-A KUBE-SEP-2RIJ5GIYXEFH6G4D -m comment --comment default/web:http -m tcp -p tcp -j DNAT --to-destination 10.244.2.7:8080
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
`,
  2: `*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-FIREWALL - [0:0]
-A KUBE-FIREWALL -m comment --comment "block incoming localnet connections" -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-SERVICES -m comment --comment "default/api has no endpoints" -m tcp -p tcp -d 10.96.0.60 --dport 443 -j REJECT
-A KUBE-EXTERNAL-SERVICES -m comment --comment "default/api has no endpoints" -m addrtype --dst-type LOCAL -m tcp -p tcp --dport 30443 -j REJECT
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x004000/0x004000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-2KKYJRIGYGQNRODB - [0:0]
:KUBE-SEP-4C2XVE4HDBOXUXNK - [0:0]
:KUBE-SEP-RB443LBZUXMAILOW - [0:0]
:KUBE-SEP-DXLIETGR3T5WSVYD - [0:0]
-A KUBE-POSTROUTING -m mark ! --mark 0x004000/0x004000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x004000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x004000
-A KUBE-SERVICES -m comment --comment "kube-system/dns:dns cluster IP" -m udp -p udp -d 10.96.0.10 --dport 53 -j KUBE-SVC-2KKYJRIGYGQNRODB
-A KUBE-SVC-2KKYJRIGYGQNRODB -m comment --comment "kube-system/dns:dns cluster IP" -m udp -p udp -d 10.96.0.10 --dport 53 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
-A KUBE-SVC-2KKYJRIGYGQNRODB -m comment --comment "kube-system/dns:dns -> 10.244.1.2:53" -m statistic --mode random --probability 0.3333333333 -j KUBE-SEP-4C2XVE4HDBOXUXNK
-A KUBE-SVC-2KKYJRIGYGQNRODB -m comment --comment "kube-system/dns:dns -> 10.244.2.2:53" -m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-RB443LBZUXMAILOW
-A KUBE-SVC-2KKYJRIGYGQNRODB -m comment --comment "kube-system/dns:dns -> 10.244.3.2:53" -j KUBE-SEP-DXLIETGR3T5WSVYD
-A KUBE-SEP-4C2XVE4HDBOXUXNK -m comment --comment kube-system/dns:dns -s 10.244.1.2 -j KUBE-MARK-MASQ
-A KUBE-SEP-4C2XVE4HDBOXUXNK -m comment --comment kube-system/dns:dns -m udp -p udp -j DNAT --to-destination 10.244.1.2:53
-A KUBE-SEP-RB443LBZUXMAILOW -m comment --comment kube-system/dns:dns -s 10.244.2.2 -j KUBE-MARK-MASQ
-A KUBE-SEP-RB443LBZUXMAILOW -m comment --comment kube-system/dns:dns -m udp -p udp -j DNAT --to-destination 10.244.2.2:53
-A KUBE-SEP-DXLIETGR3T5WSVYD -m comment --comment kube-system/dns:dns -s 10.244.3.2 -j KUBE-MARK-MASQ
-A KUBE-SEP-DXLIETGR3T5WSVYD -m comment --comment kube-system/dns:dns -m udp -p udp -j DNAT --to-destination 10.244.3.2:53
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
`,
  3: `*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-FIREWALL - [0:0]
-A KUBE-FIREWALL -m comment --comment "block incoming localnet connections" -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -m nfacct --nfacct-name ct_state_invalid_dropped_pkts -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x004000/0x004000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-EXT-LQHX3O73FPKHOFRJ - [0:0]
:KUBE-SVC-LQHX3O73FPKHOFRJ - [0:0]
:KUBE-SEP-XH6OW6NBOW4KYMWK - [0:0]
-A KUBE-POSTROUTING -m mark ! --mark 0x004000/0x004000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x004000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x004000
-A KUBE-SERVICES -m comment --comment "shop/front:http cluster IP" -m tcp -p tcp -d 10.96.1.1 --dport 80 -j KUBE-SVC-LQHX3O73FPKHOFRJ
-A KUBE-SERVICES -m comment --comment "shop/front:http external IP" -m tcp -p tcp -d 198.51.100.7 --dport 80 -j KUBE-EXT-LQHX3O73FPKHOFRJ
-A KUBE-NODEPORTS -m comment --comment shop/front:http -m tcp -p tcp -d 127.0.0.0/8 --dport 30080 -m nfacct --nfacct-name localhost_nps_accepted_pkts -j KUBE-EXT-LQHX3O73FPKHOFRJ
-A KUBE-NODEPORTS -m comment --comment shop/front:http -m tcp -p tcp --dport 30080 -j KUBE-EXT-LQHX3O73FPKHOFRJ
-A KUBE-SVC-LQHX3O73FPKHOFRJ -m comment --comment "shop/front:http cluster IP" -m tcp -p tcp -d 10.96.1.1 --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
-A KUBE-EXT-LQHX3O73FPKHOFRJ -m comment --comment "masquerade traffic for shop/front:http external destinations" -j KUBE-MARK-MASQ
-A KUBE-EXT-LQHX3O73FPKHOFRJ -j KUBE-SVC-LQHX3O73FPKHOFRJ
-A KUBE-SVC-LQHX3O73FPKHOFRJ -m comment --comment "shop/front:http -> 10.244.2.9:8080" -j KUBE-SEP-XH6OW6NBOW4KYMWK
-A KUBE-SEP-XH6OW6NBOW4KYMWK -m comment --comment shop/front:http -s 10.244.2.9 -j KUBE-MARK-MASQ
-A KUBE-SEP-XH6OW6NBOW4KYMWK -m comment --comment shop/front:http -m tcp -p tcp -j DNAT --to-destination 10.244.2.9:8080
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
`,
  4: `*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-FIREWALL - [0:0]
-A KUBE-FIREWALL -m comment --comment "block incoming localnet connections" -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-NODEPORTS -m comment --comment "shop/edge:https health check node port" -m tcp -p tcp --dport 32100 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x004000/0x004000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-EXT-TFCKRJ4VVZESZDQY - [0:0]
:KUBE-SVC-TFCKRJ4VVZESZDQY - [0:0]
:KUBE-SVL-TFCKRJ4VVZESZDQY - [0:0]
:KUBE-SEP-YLDB3CEKHDBOH4YA - [0:0]
:KUBE-SEP-36M3EFYVAYBGJTKD - [0:0]
-A KUBE-POSTROUTING -m mark ! --mark 0x004000/0x004000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x004000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x004000
-A KUBE-SERVICES -m comment --comment "shop/edge:https cluster IP" -m tcp -p tcp -d 10.96.1.2 --dport 443 -j KUBE-SVC-TFCKRJ4VVZESZDQY
-A KUBE-SERVICES -m comment --comment "shop/edge:https loadbalancer IP" -m tcp -p tcp -d 203.0.113.9 --dport 443 -j KUBE-EXT-TFCKRJ4VVZESZDQY
-A KUBE-NODEPORTS -m comment --comment shop/edge:https -m tcp -p tcp --dport 31443 -j KUBE-EXT-TFCKRJ4VVZESZDQY
-A KUBE-SVC-TFCKRJ4VVZESZDQY -m comment --comment "shop/edge:https cluster IP" -m tcp -p tcp -d 10.96.1.2 --dport 443 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
-A KUBE-EXT-TFCKRJ4VVZESZDQY -m comment --comment "pod traffic for shop/edge:https external destinations" -s 10.244.0.0/16 -j KUBE-SVC-TFCKRJ4VVZESZDQY
-A KUBE-EXT-TFCKRJ4VVZESZDQY -m comment --comment "masquerade LOCAL traffic for shop/edge:https external destinations" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ
-A KUBE-EXT-TFCKRJ4VVZESZDQY -m comment --comment "route LOCAL traffic for shop/edge:https external destinations" -m addrtype --src-type LOCAL -j KUBE-SVC-TFCKRJ4VVZESZDQY
-A KUBE-EXT-TFCKRJ4VVZESZDQY -j KUBE-SVL-TFCKRJ4VVZESZDQY
-A KUBE-SVC-TFCKRJ4VVZESZDQY -m comment --comment "shop/edge:https -> 10.244.1.8:8443" -m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-YLDB3CEKHDBOH4YA
-A KUBE-SVC-TFCKRJ4VVZESZDQY -m comment --comment "shop/edge:https -> 10.244.3.8:8443" -j KUBE-SEP-36M3EFYVAYBGJTKD
-A KUBE-SVL-TFCKRJ4VVZESZDQY -m comment --comment "shop/edge:https -> 10.244.1.8:8443" -j KUBE-SEP-YLDB3CEKHDBOH4YA
-A KUBE-SEP-YLDB3CEKHDBOH4YA -m comment --comment shop/edge:https -s 10.244.1.8 -j KUBE-MARK-MASQ
-A KUBE-SEP-YLDB3CEKHDBOH4YA -m comment --comment shop/edge:https -m tcp -p tcp -j DNAT --to-destination 10.244.1.8:8443
-A KUBE-SEP-36M3EFYVAYBGJTKD -m comment --comment shop/edge:https -s 10.244.3.8 -j KUBE-MARK-MASQ
-A KUBE-SEP-36M3EFYVAYBGJTKD -m comment --comment shop/edge:https -m tcp -p tcp -j DNAT --to-destination 10.244.3.8:8443
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
`,
  5: `*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-FIREWALL - [0:0]
-A KUBE-FIREWALL -m comment --comment "block incoming localnet connections" -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-PROXY-FIREWALL -m comment --comment "shop/fw:http traffic not accepted by KUBE-FW-SEQEPSGXB7DYLJSD" -m tcp -p tcp -d 203.0.113.10 --dport 80 -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x004000/0x004000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-EXT-SEQEPSGXB7DYLJSD - [0:0]
:KUBE-FW-SEQEPSGXB7DYLJSD - [0:0]
:KUBE-SVC-SEQEPSGXB7DYLJSD - [0:0]
:KUBE-SEP-XOOADTSAOPSMSKIT - [0:0]
-A KUBE-POSTROUTING -m mark ! --mark 0x004000/0x004000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x004000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x004000
-A KUBE-SERVICES -m comment --comment "shop/fw:http cluster IP" -m tcp -p tcp -d 10.96.1.3 --dport 80 -j KUBE-SVC-SEQEPSGXB7DYLJSD
-A KUBE-SERVICES -m comment --comment "shop/fw:http loadbalancer IP" -m tcp -p tcp -d 203.0.113.10 --dport 80 -j KUBE-FW-SEQEPSGXB7DYLJSD
-A KUBE-NODEPORTS -m comment --comment shop/fw:http -m tcp -p tcp --dport 31080 -j KUBE-EXT-SEQEPSGXB7DYLJSD
-A KUBE-SVC-SEQEPSGXB7DYLJSD -m comment --comment "shop/fw:http cluster IP" -m tcp -p tcp -d 10.96.1.3 --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
-A KUBE-EXT-SEQEPSGXB7DYLJSD -m comment --comment "masquerade traffic for shop/fw:http external destinations" -j KUBE-MARK-MASQ
-A KUBE-EXT-SEQEPSGXB7DYLJSD -j KUBE-SVC-SEQEPSGXB7DYLJSD
-A KUBE-FW-SEQEPSGXB7DYLJSD -m comment --comment "shop/fw:http loadbalancer IP" -s 192.0.2.0/24 -j KUBE-EXT-SEQEPSGXB7DYLJSD
-A KUBE-FW-SEQEPSGXB7DYLJSD -m comment --comment "shop/fw:http loadbalancer IP" -s 198.51.100.0/25 -j KUBE-EXT-SEQEPSGXB7DYLJSD
-A KUBE-FW-SEQEPSGXB7DYLJSD -m comment --comment "shop/fw:http loadbalancer IP" -s 203.0.113.10 -j KUBE-EXT-SEQEPSGXB7DYLJSD
-A KUBE-FW-SEQEPSGXB7DYLJSD -m comment --comment "other traffic to shop/fw:http will be dropped by KUBE-PROXY-FIREWALL"
-A KUBE-SVC-SEQEPSGXB7DYLJSD -m comment --comment "shop/fw:http -> 10.244.2.11:80" -j KUBE-SEP-XOOADTSAOPSMSKIT
-A KUBE-SEP-XOOADTSAOPSMSKIT -m comment --comment shop/fw:http -s 10.244.2.11 -j KUBE-MARK-MASQ
-A KUBE-SEP-XOOADTSAOPSMSKIT -m comment --comment shop/fw:http -m tcp -p tcp -j DNAT --to-destination 10.244.2.11:80
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
`,
  6: `*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-FIREWALL - [0:0]
-A KUBE-FIREWALL -m comment --comment "block incoming localnet connections" -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x004000/0x004000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-25FJTMN2OLOPNGWS - [0:0]
:KUBE-SEP-ZYSNTQBCFJNCNK6X - [0:0]
:KUBE-SEP-CLUBZB3OGVSNZOEM - [0:0]
-A KUBE-POSTROUTING -m mark ! --mark 0x004000/0x004000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x004000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x004000
-A KUBE-SERVICES -m comment --comment "shop/sticky:http cluster IP" -m tcp -p tcp -d 10.96.1.4 --dport 80 -j KUBE-SVC-25FJTMN2OLOPNGWS
-A KUBE-SVC-25FJTMN2OLOPNGWS -m comment --comment "shop/sticky:http cluster IP" -m tcp -p tcp -d 10.96.1.4 --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
-A KUBE-SVC-25FJTMN2OLOPNGWS -m comment --comment "shop/sticky:http -> 10.244.1.21:80" -m recent --name KUBE-SEP-ZYSNTQBCFJNCNK6X --rcheck --seconds 10800 --reap -j KUBE-SEP-ZYSNTQBCFJNCNK6X
-A KUBE-SVC-25FJTMN2OLOPNGWS -m comment --comment "shop/sticky:http -> 10.244.2.21:80" -m recent --name KUBE-SEP-CLUBZB3OGVSNZOEM --rcheck --seconds 10800 --reap -j KUBE-SEP-CLUBZB3OGVSNZOEM
-A KUBE-SVC-25FJTMN2OLOPNGWS -m comment --comment "shop/sticky:http -> 10.244.1.21:80" -m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-ZYSNTQBCFJNCNK6X
-A KUBE-SVC-25FJTMN2OLOPNGWS -m comment --comment "shop/sticky:http -> 10.244.2.21:80" -j KUBE-SEP-CLUBZB3OGVSNZOEM
-A KUBE-SEP-ZYSNTQBCFJNCNK6X -m comment --comment shop/sticky:http -s 10.244.1.21 -j KUBE-MARK-MASQ
-A KUBE-SEP-ZYSNTQBCFJNCNK6X -m comment --comment shop/sticky:http -m recent --name KUBE-SEP-ZYSNTQBCFJNCNK6X --set -m tcp -p tcp -j DNAT --to-destination 10.244.1.21:80
-A KUBE-SEP-CLUBZB3OGVSNZOEM -m comment --comment shop/sticky:http -s 10.244.2.21 -j KUBE-MARK-MASQ
-A KUBE-SEP-CLUBZB3OGVSNZOEM -m comment --comment shop/sticky:http -m recent --name KUBE-SEP-CLUBZB3OGVSNZOEM --set -m tcp -p tcp -j DNAT --to-destination 10.244.2.21:80
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
`,
  7: `*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
-A KUBE-SERVICES -m comment --comment "ops/itp:m has no local endpoints" -m tcp -p tcp -d 10.96.2.1 --dport 9100 -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x004000/0x004000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-EXT-4WCAZIRN56IUGKWL - [0:0]
:KUBE-SVC-4WCAZIRN56IUGKWL - [0:0]
:KUBE-SVL-4WCAZIRN56IUGKWL - [0:0]
:KUBE-SEP-KVX5CXD6LW7WQHE7 - [0:0]
:KUBE-SEP-KRRKSXTH2P2VR26C - [0:0]
-A KUBE-POSTROUTING -m mark ! --mark 0x004000/0x004000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x004000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x004000
-A KUBE-SERVICES -m comment --comment "ops/drain:http cluster IP" -m tcp -p tcp -d 10.96.2.2 --dport 80 -j KUBE-SVC-4WCAZIRN56IUGKWL
-A KUBE-NODEPORTS -m comment --comment ops/drain:http -m tcp -p tcp --dport 30090 -j KUBE-EXT-4WCAZIRN56IUGKWL
-A KUBE-SVC-4WCAZIRN56IUGKWL -m comment --comment "ops/drain:http cluster IP" -m tcp -p tcp -d 10.96.2.2 --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
-A KUBE-EXT-4WCAZIRN56IUGKWL -m comment --comment "pod traffic for ops/drain:http external destinations" -s 10.244.0.0/16 -j KUBE-SVC-4WCAZIRN56IUGKWL
-A KUBE-EXT-4WCAZIRN56IUGKWL -m comment --comment "masquerade LOCAL traffic for ops/drain:http external destinations" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ
-A KUBE-EXT-4WCAZIRN56IUGKWL -m comment --comment "route LOCAL traffic for ops/drain:http external destinations" -m addrtype --src-type LOCAL -j KUBE-SVC-4WCAZIRN56IUGKWL
-A KUBE-EXT-4WCAZIRN56IUGKWL -j KUBE-SVL-4WCAZIRN56IUGKWL
-A KUBE-SVC-4WCAZIRN56IUGKWL -m comment --comment "ops/drain:http -> 10.244.2.40:80" -j KUBE-SEP-KVX5CXD6LW7WQHE7
-A KUBE-SVL-4WCAZIRN56IUGKWL -m comment --comment "ops/drain:http -> 10.244.1.40:80" -j KUBE-SEP-KRRKSXTH2P2VR26C
-A KUBE-SEP-KVX5CXD6LW7WQHE7 -m comment --comment ops/drain:http -s 10.244.2.40 -j KUBE-MARK-MASQ
-A KUBE-SEP-KVX5CXD6LW7WQHE7 -m comment --comment ops/drain:http -m tcp -p tcp -j DNAT --to-destination 10.244.2.40:80
-A KUBE-SEP-KRRKSXTH2P2VR26C -m comment --comment ops/drain:http -s 10.244.1.40 -j KUBE-MARK-MASQ
-A KUBE-SEP-KRRKSXTH2P2VR26C -m comment --comment ops/drain:http -m tcp -p tcp -j DNAT --to-destination 10.244.1.40:80
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -d 192.0.2.10 -j KUBE-NODEPORTS
COMMIT
`,
  8: `*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x004000/0x004000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-EXT-VB6W3Y75GEBXG6TR - [0:0]
:KUBE-SVC-VB6W3Y75GEBXG6TR - [0:0]
:KUBE-SEP-DDVR7U46OYYRZTAG - [0:0]
-A KUBE-POSTROUTING -m mark ! --mark 0x004000/0x004000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x004000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x004000
-A KUBE-SERVICES -m comment --comment "default/web6:http cluster IP" -m tcp -p tcp -d fd00:96::50 --dport 80 -j KUBE-SVC-VB6W3Y75GEBXG6TR
-A KUBE-NODEPORTS -m comment --comment default/web6:http -m tcp -p tcp --dport 30180 -j KUBE-EXT-VB6W3Y75GEBXG6TR
-A KUBE-SVC-VB6W3Y75GEBXG6TR -m comment --comment "default/web6:http cluster IP" -m tcp -p tcp -d fd00:96::50 --dport 80 ! -s fd00:244::/48 -j KUBE-MARK-MASQ
-A KUBE-EXT-VB6W3Y75GEBXG6TR -m comment --comment "masquerade traffic for default/web6:http external destinations" -j KUBE-MARK-MASQ
-A KUBE-EXT-VB6W3Y75GEBXG6TR -j KUBE-SVC-VB6W3Y75GEBXG6TR
-A KUBE-SVC-VB6W3Y75GEBXG6TR -m comment --comment "default/web6:http -> [fd00:244:1::5]:8080" -j KUBE-SEP-DDVR7U46OYYRZTAG
-A KUBE-SEP-DDVR7U46OYYRZTAG -m comment --comment default/web6:http -s fd00:244:1::5 -j KUBE-MARK-MASQ
-A KUBE-SEP-DDVR7U46OYYRZTAG -m comment --comment default/web6:http -m tcp -p tcp -j DNAT --to-destination [fd00:244:1::5]:8080
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL ! -d ::1/128 -j KUBE-NODEPORTS
COMMIT
`,
  9: `*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-FIREWALL - [0:0]
-A KUBE-FIREWALL -m comment --comment "block incoming localnet connections" -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x004000/0x004000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-CDGGSHYLG3RE2FKL - [0:0]
:KUBE-SEP-AFGSLHOD2HFNCBX4 - [0:0]
:KUBE-SEP-BHWREN4QVXBDKU7G - [0:0]
:KUBE-SEP-2RIJ5GIYXEFH6G4D - [0:0]
-A KUBE-POSTROUTING -m mark ! --mark 0x004000/0x004000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x004000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x004000
-A KUBE-SERVICES -m comment --comment "default/web:http cluster IP" -m tcp -p tcp -d 10.96.0.50 --dport 80 -j KUBE-SVC-CDGGSHYLG3RE2FKL
-A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http cluster IP" -m tcp -p tcp -d 10.96.0.50 --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
-A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.1.5:8080" -m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-AFGSLHOD2HFNCBX4
-A KUBE-SVC-CDGGSHYLG3RE2FKL -m comment --comment "default/web:http -> 10.244.3.4:8080" -j KUBE-SEP-BHWREN4QVXBDKU7G
-A KUBE-SEP-AFGSLHOD2HFNCBX4 -m comment --comment default/web:http -s 10.244.1.5 -j KUBE-MARK-MASQ
-A KUBE-SEP-AFGSLHOD2HFNCBX4 -m comment --comment default/web:http -m tcp -p tcp -j DNAT --to-destination 10.244.1.5:8080
-A KUBE-SEP-BHWREN4QVXBDKU7G -m comment --comment default/web:http -s 10.244.3.4 -j KUBE-MARK-MASQ
-A KUBE-SEP-BHWREN4QVXBDKU7G -m comment --comment default/web:http -m tcp -p tcp -j DNAT --to-destination 10.244.3.4:8080
-A KUBE-SERVICES -m comment --comment "default/other:http cluster IP" -m tcp -p tcp -d 10.96.0.51 --dport 80 -j KUBE-SVC-6M2PNY2GQKD6K7F5
-X KUBE-SEP-2RIJ5GIYXEFH6G4D
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
`,
};
