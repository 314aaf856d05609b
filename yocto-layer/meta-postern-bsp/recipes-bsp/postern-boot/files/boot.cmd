# Chooses the slot and counts: a slot that does not become healthy in three attempts loses its turn, unless
# the other is nothing to start. firmware/config/src/slots.rs says the same in Rust.
setenv eaddr @ENVIRONMENT_ADDRESS@
setenv faddr @FIT_ADDRESS@
@INTERFACE@ dev @DEVICE@
part start @INTERFACE@ @DEVICE@ environment first
setexpr second ${first} + 0x400
setenv used ${first}
setenv spare ${second}
@INTERFACE@ read ${eaddr} ${first} 8
if env import -c ${eaddr} 0x1000 slot left other trial wait fell floor; then
  echo "postern: slot ${slot}, ${left} attempts left"
else
  setenv used ${second}
  setenv spare ${first}
  @INTERFACE@ read ${eaddr} ${second} 8
  if env import -c ${eaddr} 0x1000 slot left other trial wait fell floor; then
    echo "postern: second copy: slot ${slot}, ${left} attempts left"
  else
    echo "postern: no valid choice, slot A"
    setenv slot A
    setenv left 3
    setenv other good
    setenv trial 0
    setenv wait 0
    setenv fell 0
    setenv floor 0
  fi
fi
if test "${left}" = "0"; then
  if test "${other}" = "bad"; then
    echo "postern: slot ${slot} did not become healthy, and the other is nothing to start"
    setenv left 3
  else
    echo "postern: slot ${slot} did not become healthy, taking the other"
    if test "${trial}" = "1"; then setenv other bad; else setenv other good; fi
    if test "${slot}" = "A"; then setenv slot B; else setenv slot A; fi
    setenv left 3
    setenv trial 0
    setenv fell 1
  fi
fi
setexpr left ${left} - 1
# The copy that was read is the last to be written: one of them is whole at every moment.
env export -c -s 0x1000 ${eaddr} slot left other trial wait fell floor
@INTERFACE@ write ${eaddr} ${spare} 8
@INTERFACE@ write ${eaddr} ${used} 8
setenv bootargs "@ARGUMENTS@ postern.slot=${slot}"
if test "${slot}" = "A"; then setenv kernel kernel-a; else setenv kernel kernel-b; fi
part start @INTERFACE@ @DEVICE@ ${kernel} from
part size @INTERFACE@ @DEVICE@ ${kernel} blocks
@INTERFACE@ read ${faddr} ${from} ${blocks}
echo "postern: starting slot ${slot}"
bootm @BOOT@
echo "postern: the kernel of slot ${slot} is not what was made"
if test "${other}" = "bad"; then
  # Nothing is left to lose: what is not whole has no valid hash, and does not start either.
  if test "${slot}" = "A"; then setenv slot B; setenv kernel kernel-b; else setenv slot A; setenv kernel kernel-a; fi
  setenv bootargs "@ARGUMENTS@ postern.slot=${slot}"
  part start @INTERFACE@ @DEVICE@ ${kernel} from
  part size @INTERFACE@ @DEVICE@ ${kernel} blocks
  @INTERFACE@ read ${faddr} ${from} ${blocks}
  echo "postern: the last resort: starting slot ${slot}"
  bootm @BOOT@
fi
sleep 1
reset
