/-! Past the kernel. Each line that must be reported ends in a comment with the kind. -/
namespace Silicon.Cheats.Kernel

set_option debug.skipKernelTC true in
theorem skipped : (1 : Nat) = 2 := by decide +kernel -- kernel

theorem follows : (2 : Nat) = 1 := skipped.symm -- kernel

set_option debug.skipKernelTC true
theorem still_skipped : (1 : Nat) = 3 := by decide +kernel -- kernel
private theorem hidden_skip : (1 : Nat) = 4 := by decide +kernel -- kernel
set_option debug.skipKernelTC false

theorem tactic_skip : (1 : Nat) = 5 := by
  set_option debug.skipKernelTC true in decide +kernel

unsafe def unchecked : Nat → Nat := fun n => unchecked n -- unsafe
partial def endless (n : Nat) : Nat := endless (n + 1) -- opaque
opaque choice : Nat -- opaque
@[implemented_by unchecked] def looks_safe (n : Nat) : Nat := n

/-- A sound theorem among them stays one. -/
theorem sound (n : Nat) : n + 0 = n := rfl

end Silicon.Cheats.Kernel
