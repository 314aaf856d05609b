# Chooses the slot and counts: a slot that does not become healthy in three attempts loses its turn.
setenv eaddr @ENVIRONMENT_ADDRESS@
setenv faddr @FIT_ADDRESS@
@INTERFACE@ dev @DEVICE@
part start @INTERFACE@ @DEVICE@ environment first
setexpr second ${first} + 0x400
setenv slot
@INTERFACE@ read ${eaddr} ${first} 8
if env import -c ${eaddr} 0x1000 slot left; then echo "postern: slot ${slot}, ${left} attempts left"; else
  @INTERFACE@ read ${eaddr} ${second} 8
  if env import -c ${eaddr} 0x1000 slot left; then echo "postern: second copy: slot ${slot}, ${left} attempts left"; else
    echo "postern: no valid choice, slot A"
    setenv slot A
    setenv left 3
  fi
fi
if test "${left}" = "0"; then
  echo "postern: slot ${slot} did not become healthy, taking the other"
  if test "${slot}" = "A"; then setenv slot B; else setenv slot A; fi
  setenv left 3
fi
setexpr left ${left} - 1
env export -c -s 0x1000 ${eaddr} slot left
@INTERFACE@ write ${eaddr} ${first} 8
@INTERFACE@ write ${eaddr} ${second} 8
if test "${slot}" = "A"; then setenv kernel kernel-a; else setenv kernel kernel-b; fi
part start @INTERFACE@ @DEVICE@ ${kernel} from
part size @INTERFACE@ @DEVICE@ ${kernel} blocks
@INTERFACE@ read ${faddr} ${from} ${blocks}
setenv bootargs "@ARGUMENTS@ postern.slot=${slot}"
echo "postern: starting slot ${slot}"
bootm @BOOT@
echo "postern: the kernel of slot ${slot} is not what was made"
sleep 1
reset
