# The root file system is mounted by the kernel itself here, without an initramfs: by the name of its partition.
s,setenv kernel kernel-a;,setenv kernel kernel-a; setenv root root-a;,
s,setenv kernel kernel-b;,setenv kernel kernel-b; setenv root root-b;,
s,@ARGUMENTS@,@ARGUMENTS@ root=PARTLABEL=${root} rootfstype=squashfs ro rootwait,
