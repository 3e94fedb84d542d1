(* Why no file here assumes that an off-diagonal entry is bounded by its diagonal one.

   "abs(b) <= a whenever a > 0", with a for a diagonal entry and b for any other of its row, is false;
   whoever postulates it can prove everything. Nor is it a property of positive definite matrices, for
   which only b^2 < a d holds. *)

From Coq Require Import Reals Lra Lia Arith List.
From Assay Require Import FiniteSums Quadratic.
Import ListNotations.
Open Scope R_scope.

Theorem positive_diagonal_bounds_nothing : ~ forall a b : R, 0 < a -> Rabs b <= a.
Proof. intros claim. specialize (claim 1 2 Rlt_0_1). rewrite Rabs_right in claim; lra. Qed.

Definition not_dominant (i j : nat) : R := nth j (nth i [[1; 3 / 2]; [3 / 2; 4]] []) 0.

Theorem positive_definite_without_dominance :
  symmetric 2 not_dominant /\ positive_definite 2 not_dominant /\
  not_dominant 0 0 < Rabs (not_dominant 0 1).
Proof.
  repeat split.
  - intros [|[|i]] [|[|j]] ? ?; try lia; reflexivity.
  - intros e [i [inside nonzero]]. unfold quadratic, not_dominant. simpl.
    set (a := e 0%nat). set (b := e 1%nat).
    assert (square : 0 <= (a + 3 / 2 * b) ^ 2) by apply pow2_ge_0.
    assert (rest : 0 <= b ^ 2) by apply pow2_ge_0.
    destruct (Req_dec b 0) as [zero|other].
    + assert (a <> 0) by (destruct i as [|[|i]]; [exact nonzero|contradiction|lia]).
      assert (0 < a ^ 2) by (rewrite <- Rsqr_pow2; apply Rsqr_pos_lt; assumption). rewrite zero. nra.
    + assert (0 < b ^ 2) by (rewrite <- Rsqr_pow2; apply Rsqr_pos_lt; assumption). nra.
  - unfold not_dominant. simpl. rewrite Rabs_right; lra.
Qed.
